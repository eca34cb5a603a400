#!/usr/bin/env php
<?php
// Sends one message with PHPMailer, which makes the message itself: the file becomes its attachment,
// and what it made is printed.
//
// usage: with_phpmailer.php PORT TLS CA MESSAGE SENDER RECIPIENT...

require '/usr/share/php/libphp-phpmailer/autoload.php';

use PHPMailer\PHPMailer\PHPMailer;

[, $port, $tls, $ca, $message, $sender] = $argv;
$mail = new PHPMailer(true);
$mail->isSMTP();
$mail->Host = 'localhost';
$mail->Port = (int) $port;
$mail->Helo = 'app.test';
$mail->Timeout = 20;
$mail->SMTPAutoTLS = false;
$mail->SMTPSecure = ['none' => '', 'starttls' => 'tls', 'implicit' => 'ssl'][$tls];
$mail->SMTPOptions = $tls === 'none' ? [] : ['ssl' => ['cafile' => $ca]];
if (getenv('SMTP_USER')) {
    $mail->SMTPAuth = true;
    $mail->AuthType = getenv('SMTP_MECHANISM');
    $mail->Username = getenv('SMTP_USER');
    $mail->Password = getenv('SMTP_PASSWORD');
}
$mail->CharSet = 'UTF-8';
$mail->Encoding = '8bit';
$mail->setFrom($sender, 'App');
foreach (array_slice($argv, 6) as $recipient) {
    $mail->addAddress($recipient);
}
$mail->Subject = "gr\u{fc}\u{df}e";
$mail->Body = ".\r\n..\r\n.a dot in front\r\ngr\u{fc}\u{df}e \u{2713}\r\n\r\n" . str_repeat('x', 900) . "\r\n";
$mail->addStringAttachment(file_get_contents($message), 'message.eml', 'base64', 'application/octet-stream');
// Its message has no reply codes.
$replies = [];
$mail->SMTPDebug = 2;
$mail->Debugoutput = function ($line) use (&$replies) {
    $replies[] = substr(trim($line), 0, 200);
};
try {
    $mail->send();
} catch (Exception $error) {
    fwrite(STDERR, $error->getMessage() . ' ' . json_encode($replies) . "\n");
    exit(1);
}
echo $mail->getSentMIMEMessage();
