//! The LDAP ping (MS-ADTS 6.3.3): a domain controller describes itself before the bind.
//!
//! A read-only domain controller stands where its disks may be stolen. So no password is sent to it,
//! and the description comes first. A server without one, such as a proxy, is asked after the bind.

use ldap3::Scope;

use super::query::Query;
use super::root_dse::READ_ONLY;
use super::{Assertion, DirectoryError, Greeting, Object, Session};

impl Session {
    /// Asks the server to describe itself. Returns an error for a server that gets no password: a
    /// read-only one, and one that has not received the whole domain yet.
    pub(super) async fn greet(&mut self) -> Result<Greeting, DirectoryError> {
        let names = [
            "defaultNamingContext",
            "dnsHostName",
            "dsServiceName",
            "isSynchronized",
            "supportedCapabilities",
        ]
        .map(str::to_owned);
        let root = self.anonymous("(objectClass=*)", &names).await?.unwrap_or_default();
        let domain = domain_of(root.text("defaultNamingContext").unwrap_or_default());
        let mut greeting = Greeting {
            ds_service_name: root.text("dsServiceName").map(str::to_owned),
            host: root.text("dnsHostName").map(str::to_owned),
            domain: Some(domain.clone()).filter(|domain| !domain.is_empty()),
            ..Greeting::default()
        };
        if !domain.is_empty() {
            // NETLOGON_NT_VERSION_5 and 5EX.
            let version = Assertion::raw(r"(NtVer=\06\00\00\00)");
            let filter = Assertion::all([Assertion::equals("DnsDomain", &domain), version]);
            let answer = self.anonymous(filter.as_str(), &["netlogon".to_owned()]).await?;
            if let Some(described) =
                answer.as_ref().and_then(|a| Greeting::read(a.bytes("netlogon")?))
            {
                let Greeting { is_writable, site, client_site, netbios_domain, .. } = described;
                greeting = Greeting { is_writable, site, client_site, netbios_domain, ..greeting };
            }
        }
        let capabilities = root.attributes.get("supportedcapabilities");
        if greeting.is_writable == Some(false)
            || capabilities.is_some_and(|all| all.iter().any(|c| c == READ_ONLY.as_bytes()))
        {
            return Err(self.read_only());
        }
        if root.text("isSynchronized") == Some("FALSE") {
            return Err(self.unsuitable(
                "has not received the whole domain yet (isSynchronized is FALSE)",
                "nothing to do: it is used when its first replication is complete",
            ));
        }
        Ok(greeting)
    }

    /// Reads the rootDSE without a bind; `None` where the server does not allow that.
    async fn anonymous(
        &mut self,
        filter: &str,
        attributes: &[String],
    ) -> Result<Option<Object>, DirectoryError> {
        let mut found = None;
        let query = Query::new("", Scope::Base, filter, attributes);
        let end = self.search(&query, |entry| found = Object::read(entry)).await?;
        Ok(found.filter(|_| end.code == 0))
    }

    pub(super) fn read_only(&self) -> DirectoryError {
        self.unsuitable(DirectoryError::READ_ONLY, "name writable domain controllers in servers")
    }
}

/// Returns the DNS name of a domain: `corp.example.com` for `DC=corp,DC=example,DC=com`.
fn domain_of(naming_context: &str) -> String {
    let labels = naming_context.split(',').filter_map(|part| {
        let (kind, label) = part.trim().split_once('=')?;
        kind.eq_ignore_ascii_case("DC").then_some(label)
    });
    labels.collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dns_name_of_a_domain_comes_from_its_naming_context() {
        assert_eq!(domain_of("DC=corp,DC=example,DC=com"), "corp.example.com");
        assert_eq!(domain_of("dc=Corp, dc=local"), "Corp.local");
        assert_eq!(domain_of(""), "");
    }
}
