//! Parsers of values. An error is a sentence with a remedy.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use chrono_tz::{TZ_VARIANTS, Tz};
use reqwest::Url;

use crate::model::{
    Address, Cron, DirectoryName, Dn, Domain, Filter, Handle, Rate, Resolver, ServerUrl,
    TargetName, Timestamp, nearest, unknown_rule,
};

/// Longest duration. Instants in microseconds overflow beyond it, and a longer one is a mistake.
const LONGEST: Duration = Duration::from_hours(100 * 365 * 24);

/// Parses a duration of more than zero.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    match duration_or_zero(text)? {
        Duration::ZERO => {
            Err(format!("\"{text}\" is no time at all: write more than zero, \"30s\" for example"))
        }
        duration => Ok(duration),
    }
}

/// Parses the time for which a leader may be silent.
pub(super) fn lease(text: &str) -> Result<Duration, String> {
    let lease = duration(text)?;
    if (Duration::from_secs(3)..=Duration::from_mins(1)).contains(&lease) {
        Ok(lease)
    } else {
        Err(format!("\"{text}\" is not from 3s to 60s: \"10s\" is usual"))
    }
}

/// Parses the name of a node.
pub(super) fn node_name(text: &str) -> Result<String, String> {
    hook_name(text)
}

/// Parses a duration, which may be zero.
pub(super) fn duration_or_zero(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text)
        .map_err(|_| format!("\"{text}\" is not a duration: write a number and a unit, such as \"30s\", \"10m\", \"24h\" or \"7d\""))?;
    if duration > LONGEST {
        Err(format!("\"{text}\" is more than 100 years"))
    } else {
        Ok(duration)
    }
}

/// Parses a duration, or `off` as `None`.
pub(super) fn duration_or_off(text: &str) -> Result<Option<Duration>, String> {
    if text == "off" {
        Ok(None)
    } else {
        duration(text).map(Some).map_err(|e| format!("{e}; or \"off\""))
    }
}

/// Returns a parser of one of these words.
pub(super) fn one_of<T: Copy>(words: &[(&str, T)]) -> impl Fn(&str) -> Result<T, String> {
    move |text| {
        let list =
            || words.iter().map(|(word, _)| format!("\"{word}\"")).collect::<Vec<_>>().join(" or ");
        words
            .iter()
            .find(|(word, _)| *word == text)
            .map(|(_, value)| *value)
            .ok_or_else(|| format!("\"{text}\" is not known here: write {}", list()))
    }
}

/// Parses a text that is not blank.
pub(super) fn some_text(text: &str) -> Result<String, String> {
    if text.trim().is_empty() {
        Err("this is empty: write something, or remove it".to_owned())
    } else {
        Ok(text.to_owned())
    }
}

/// Parses an absolute path.
pub(super) fn path(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    if path.is_absolute() {
        Ok(path)
    } else {
        Err(format!("\"{text}\" is not an absolute path: begin it with /"))
    }
}

/// Parses a DNS resolver.
pub(super) fn resolver(text: &str) -> Result<Resolver, String> {
    match text {
        "system" => Ok(Resolver::System),
        _ => match (text.parse::<SocketAddr>(), text.parse::<IpAddr>()) {
            (Ok(address), _) => Ok(Resolver::At(address)),
            (_, Ok(ip)) => Ok(Resolver::At((ip, 53).into())),
            _ => Err(format!(
                "\"{text}\" is not a resolver: write \"system\", or an address such as \"127.0.0.1:53\""
            )),
        },
    }
}

/// Parses an IP address and a port to listen on.
pub(super) fn listener(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| format!("\"{text}\" is not an address to listen on: write an IP address and a port, such as \"127.0.0.1:9464\""))
}

/// Parses a domain that accounts may claim.
pub(super) fn claimable(text: &str) -> Result<Domain, String> {
    Domain::claimable(text).map_err(|e| e.to_string())
}

/// Parses the DNS name of an AD domain.
pub(super) fn ad_domain(text: &str) -> Result<Domain, String> {
    let bare = text.strip_suffix('.').unwrap_or(text);
    let domain = Domain::parse(bare).map_err(|_| {
        format!("\"{text}\" is not the DNS name of an AD domain, such as corp.example.com")
    })?;
    // Names of servers are trusted within the domain, and a name below a public suffix is free to
    // register.
    if domain.is_public_suffix() {
        return Err(format!(
            "\"{text}\" is a public suffix, below which any person can register names: write the DNS name of your AD domain, such as corp.example.com"
        ));
    }
    Ok(domain)
}

/// Parses a time zone of the IANA database.
pub(super) fn timezone(text: &str) -> Result<Tz, String> {
    text.parse().map_err(|_| {
        let names = || TZ_VARIANTS.iter().map(|zone| zone.name());
        let city = |name: &&str| {
            name.rsplit('/').next().is_some_and(|city| city.eq_ignore_ascii_case(text))
        };
        match names().find(city).or_else(|| nearest(text, names())) {
            Some(zone) => format!("there is no time zone \"{text}\": did you mean {zone}?"),
            None => format!(
                "there is no time zone \"{text}\": write a name such as Europe/Berlin, or UTC"
            ),
        }
    })
}

/// Parses a cron expression that fires.
pub(super) fn cron(text: &str, zone: Tz) -> Result<Cron, String> {
    Cron::parse(text, zone).map_err(|e| e.to_string())
}

/// Parses the URL of a domain controller.
pub(super) fn server(text: &str) -> Result<ServerUrl, String> {
    ServerUrl::parse(text)
}

/// Parses a filter that Active Directory can evaluate and the LDAP library can send.
pub(super) fn filter(text: &str) -> Result<Filter, String> {
    let filter = Filter::parse(text).map_err(|e| e.to_string())?;
    if let Some(rule) = filter.unknown_rules().first() {
        return Err(unknown_rule(rule));
    }
    match ldap3::parse_filter(filter.to_string()) {
        Ok(_) => Ok(filter),
        Err(()) => Err(format!(
            "\"{text}\" is not an LDAP filter: write (employeeType=staff), for example"
        )),
    }
}

/// Parses the name of a directory.
pub(super) fn directory_name(text: &str) -> Result<DirectoryName, String> {
    DirectoryName::parse(text).ok_or_else(|| {
        format!("\"{text}\" is not a name for a directory: use 1 to 63 of a-z, 0-9 and -")
    })
}

/// Parses the name of a target.
pub(super) fn target_name(text: &str) -> Result<TargetName, String> {
    TargetName::parse(text).ok_or_else(|| {
        format!("\"{text}\" is not a name for a target: use 1 to 63 of a-z, 0-9 and -")
    })
}

/// Parses the handle of an account.
pub(super) fn handle(text: &str) -> Result<Handle, String> {
    Handle::parse(text).map_err(|e| e.to_string())
}

/// Parses the name of a hook or gate, which occurs in commands and metrics.
pub(super) fn hook_name(text: &str) -> Result<String, String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if (1..=63).contains(&text.len()) && text.chars().all(is_plain) {
        Ok(text.to_owned())
    } else {
        Err(format!("\"{text}\" is not a name: use 1 to 63 letters, digits, dots and dashes"))
    }
}

/// Parses the name of an AD user: a DN, a UPN or `DOMAIN\name`.
pub(super) fn principal(text: &str) -> Result<String, String> {
    if text.contains(['=', '@', '\\']) {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "\"{text}\" is neither a DN nor a UPN: write svc-rosterd@corp.example.com, for example"
        ))
    }
}

/// Parses the name of an account with its realm.
pub(super) fn kerberos_principal(text: &str) -> Result<String, String> {
    let is_realm = |realm: &str| {
        !realm.is_empty() && realm.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c))
    };
    match text.rsplit_once('@') {
        Some((name, realm))
            if !name.is_empty() && is_realm(realm) && !text.contains(char::is_whitespace) =>
        {
            Ok(text.to_owned())
        }
        _ => Err(format!(
            "\"{text}\" is not a principal: write svc-rosterd@CORP.EXAMPLE.COM, as klist -k shows it"
        )),
    }
}

/// Parses the DN of a base.
pub(super) fn base(text: &str) -> Result<Dn, String> {
    let dn = Dn::new(text);
    let is_named = |dn: &Dn| {
        dn.key()
            .split_once('=')
            .is_some_and(|(attribute, value)| !attribute.contains(',') && !value.is_empty())
    };
    if std::iter::successors(Some(dn.clone()), Dn::parent).all(|level| is_named(&level)) {
        Ok(dn)
    } else {
        Err(format!("\"{text}\" is not a DN: write DC=corp,DC=example,DC=com, for example"))
    }
}

/// Parses an email address.
pub(super) fn address(text: &str) -> Result<Address, String> {
    Address::parse(text).map_err(|e| format!("{e}: write a whole address, such as ceo@example.com"))
}

/// Parses a pattern of email addresses. Its domain becomes an A-label, because addresses have
/// A-labels.
pub(super) fn pattern(text: &str) -> Result<String, String> {
    let bad = |reason: &str| {
        Err(format!(
            "\"{text}\" {reason}: write a whole address in which * stands for any text, such as svc-*@example.com"
        ))
    };
    let Some((local, domain)) = text.split_once('@') else { return bad("matches no address") };
    if local.is_empty()
        || domain.is_empty()
        || domain.contains('@')
        || text.contains(char::is_whitespace)
    {
        return bad("matches no address");
    }
    if [local, domain].iter().all(|part| part.chars().all(|c| c == '*')) {
        return bad("excludes every person");
    }
    if domain.contains('*') {
        return Ok(text.to_owned());
    }
    match Domain::parse(domain) {
        Ok(domain) => Ok(format!("{local}@{domain}")),
        Err(_) => bad("matches no address"),
    }
}

/// Parses the name of an LDAP attribute (RFC 4512, `keystring`).
pub(super) fn attribute(text: &str) -> Result<String, String> {
    let is_name = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    if is_name {
        Ok(text.to_owned())
    } else {
        Err(format!("\"{text}\" is not the name of an attribute, such as mail"))
    }
}

/// Beginnings of the names of attributes that hold passwords and keys, in lower case.
const SECRETS: [&str; 16] = [
    "unicodepwd",
    "userpassword",
    "unixuserpassword",
    "dbcspwd",
    "ntpwdhistory",
    "lmpwdhistory",
    "supplementalcredentials",
    "msds-managedpassword",
    "ms-mcs-admpwd",
    "mslaps-",
    "msfve-",
    "mstpm-",
    "currentvalue",
    "priorvalue",
    "initialauth",
    "trustauth",
];

/// Parses an attribute that is kept for output. `read` are those that rosterd reads anyway.
pub(super) fn extra_attribute(text: &str, read: &[&str]) -> Result<String, String> {
    /// Read for other purposes, or in another form.
    const FIXED: [&str; 9] = [
        "objectGUID",
        "objectSid",
        "userAccountControl",
        "accountExpires",
        "primaryGroupID",
        "memberOf",
        "proxyAddresses",
        "sAMAccountName",
        "userPrincipalName",
    ];
    let name = attribute(text)?;
    let is = |other: &&str| other.eq_ignore_ascii_case(&name);
    let folded = name.to_ascii_lowercase();
    if SECRETS.iter().any(|secret| folded.starts_with(secret)) {
        return Err(format!(
            "\"{text}\" holds a secret, which no program gets from rosterd: remove it"
        ));
    }
    if FIXED.iter().chain(read).any(is) {
        return Err(format!("rosterd reads \"{text}\" already: remove it"));
    }
    Ok(name)
}

/// Parses the URL of a web server.
pub(super) fn web_url(text: &str) -> Result<Url, String> {
    match Url::parse(text) {
        Ok(url) if ["http", "https"].contains(&url.scheme()) => match url.password() {
            None => Ok(url),
            Some(_) => Err("a password is never inline: take it out of the URL".to_owned()),
        },
        _ => {
            Err("this is not a URL: write https://siem.example.com/rosterd, for example".to_owned())
        }
    }
}

/// Returns whether others can read the traffic: http to another machine.
pub(super) fn is_open(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let is_here =
        host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    url.scheme() == "http" && !is_here
}

/// Parses a number of requests in a second, minute or hour.
pub(super) fn rate(text: &str) -> Result<Rate, String> {
    let bad = || {
        format!(
            "\"{text}\" is not a rate: write a number of requests and a unit, such as \"5/s\", \"180/m\" or \"1000/h\""
        )
    };
    let (requests, unit) = text.split_once('/').ok_or_else(bad)?;
    let per = match unit.trim() {
        "s" => Duration::from_secs(1),
        "m" => Duration::from_mins(1),
        "h" => Duration::from_hours(1),
        _ => return Err(bad()),
    };
    match requests.trim().parse() {
        Ok(requests @ 1..=100_000) => Ok(Rate { requests, per }),
        _ => Err(bad()),
    }
}

/// Parses a date, which begins at midnight UTC.
pub(super) fn date(text: &str) -> Result<Timestamp, String> {
    let date: chrono::NaiveDate = text.parse().map_err(|_| {
        format!("\"{text}\" is not a date: write year, month and day, such as \"2027-10-01\"")
    })?;
    Ok(Timestamp::from(date.and_time(chrono::NaiveTime::MIN).and_utc()))
}
