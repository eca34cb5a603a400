//! `gatepost upstream list`: the smart hosts, and their connections. `gatepost upstream profile`: what
//! is known of providers.

use gatepost_admin::control::UpstreamView;
use gatepost_delivery::profile;
use gatepost_policy::site::UpstreamId;

use super::{print, running, table::Table};
use crate::{
    cli::{ListArguments, OutputForm},
    config::Config,
    errors::Failure,
    exit::Exit,
    host::upstream_view,
};

/// Lists them.
pub fn list(arguments: &ListArguments) -> anyhow::Result<Exit> {
    let config = Config::load(&arguments.config.config)?;
    let upstreams = running::block_on(async {
        Ok(match running::find(&config.state_dir).await? {
            Some(client) => client.upstreams().await.map_err(running::failure)?,
            None => from_file(&config),
        })
    })?;
    match arguments.output {
        OutputForm::Json => {
            let object = serde_json::json!({ "upstreams": upstreams });
            print(&(serde_json::to_string_pretty(&object)? + "\n"))?;
        }
        OutputForm::Table => {
            let mut table = Table::new(["UPSTREAM", "DEFAULT", "BUSY", "IDLE", "MAX", "HOSTS"]);
            print(&table.lines(&upstreams.iter().map(row).collect::<Vec<_>>()))?;
        }
    }
    Ok(Exit::Ok)
}

/// Prints the text of a profile, or lists all.
pub fn profile(name: Option<&str>) -> anyhow::Result<Exit> {
    let Some(name) = name else {
        let rows = profile::built_in().iter();
        let rows = rows.map(|known| [known.name.to_string(), known.description.to_string()]);
        print(&Table::new(["PROFILE", "PROVIDER"]).lines(&rows.collect::<Vec<_>>()))?;
        return Ok(Exit::Ok);
    };
    let text = profile::text(name).ok_or_else(|| {
        let known = profile::built_in().iter().map(|known| &*known.name).collect::<Vec<_>>();
        let message = format!("there is no profile {name:?}; known are {}", known.join(", "));
        Failure::new(Exit::Usage, message)
    })?;
    print(text)?;
    Ok(Exit::Ok)
}

fn from_file(config: &Config) -> Vec<UpstreamView> {
    let view = |(index, upstream)| {
        let is_default = config.site.default_upstream == Some(UpstreamId::new(index));
        upstream_view(upstream, is_default)
    };
    config.upstreams.iter().enumerate().map(view).collect()
}

fn row(upstream: &UpstreamView) -> [String; 6] {
    let live = |count: fn(&UpstreamView) -> Option<usize>| {
        count(upstream).map_or_else(|| "-".to_owned(), |count| count.to_string())
    };
    [
        upstream.name.clone(),
        if upstream.default { "yes" } else { "" }.to_owned(),
        live(|upstream| upstream.live.map(|live| live.busy)),
        live(|upstream| upstream.live.map(|live| live.idle)),
        upstream.max_connections.to_string(),
        upstream.hosts.join(", "),
    ]
}
