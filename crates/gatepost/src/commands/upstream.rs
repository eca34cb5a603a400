//! `gatepost upstream list`: the smart hosts, and their connections. `gatepost upstream profile`: what
//! is known of providers. `gatepost upstream test`: whether one works.

mod test;

use gatepost_admin::control::{BreakerView, UpstreamLive, UpstreamView};
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

pub use self::test::test;

const COLUMNS: [&str; 10] = [
    "UPSTREAM", "PROFILE", "DEFAULT", "BUSY", "IDLE", "WAITING", "LIMIT", "MAX", "BREAKER", "HOSTS",
];

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
            let mut table = Table::new(COLUMNS);
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

fn row(upstream: &UpstreamView) -> [String; 10] {
    let live =
        |text: fn(UpstreamLive) -> String| upstream.live.map_or_else(|| "-".to_owned(), text);
    [
        upstream.name.clone(),
        upstream.profile.clone(),
        if upstream.default { "yes" } else { "" }.to_owned(),
        live(|live| live.busy.to_string()),
        live(|live| live.idle.to_string()),
        live(|live| live.waiting.to_string()),
        live(|live| live.limit.to_string()),
        upstream.max_connections.to_string(),
        live(breaker),
        upstream.hosts.join(", "),
    ]
}

fn breaker(live: UpstreamLive) -> String {
    match (live.breaker, live.next_attempt_s) {
        (BreakerView::Closed, _) => "closed".to_owned(),
        (BreakerView::HalfOpen, _) => "half open".to_owned(),
        (BreakerView::Open, next) => format!("open, {} s", next.unwrap_or_default()),
    }
}
