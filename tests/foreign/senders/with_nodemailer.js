#!/usr/bin/env node
// Sends one message with nodemailer, exactly as the file has it.
//
// usage: with_nodemailer.js PORT TLS CA MESSAGE SENDER RECIPIENT...
"use strict";
const fs = require("fs");
// Where Debian has it; a Node.js that comes from elsewhere does not look there by itself.
const nodemailer = require("/usr/share/nodejs/nodemailer");

const [port, tls, ca, message, from, ...to] = process.argv.slice(2);
const client = nodemailer.createTransport({
  host: "localhost",
  port: Number(port),
  name: "app.test",
  secure: tls === "implicit",
  requireTLS: tls === "starttls",
  ignoreTLS: tls === "none",
  tls: tls === "none" ? {} : { ca: fs.readFileSync(ca) },
  auth: process.env.SMTP_USER && {
    user: process.env.SMTP_USER,
    pass: process.env.SMTP_PASSWORD,
  },
  authMethod: process.env.SMTP_MECHANISM,
});
client
  .sendMail({ envelope: { from, to }, raw: fs.readFileSync(message) })
  .then((told) => console.log(told.response))
  .catch((error) => {
    console.error(error.message);
    process.exitCode = 1;
  });
