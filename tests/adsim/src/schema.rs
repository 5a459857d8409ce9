//! The schema: attributes and classes, and their spelling.

use std::collections::HashMap;

/// An attribute, by its index in the schema.
pub(crate) type AttributeId = u8;

/// The syntax of an attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Syntax {
    Text,
    Number,
    Name,
    Bytes,
    Sid,
    Truth,
    Time,
    Class,
}

impl Syntax {
    /// AD's `attributeSyntax` and `oMSyntax`.
    pub(crate) fn oids(self) -> (&'static str, &'static str) {
        match self {
            Self::Text => ("2.5.5.12", "64"),
            Self::Number => ("2.5.5.16", "65"),
            Self::Name => ("2.5.5.1", "127"),
            Self::Bytes => ("2.5.5.10", "4"),
            Self::Sid => ("2.5.5.17", "4"),
            Self::Truth => ("2.5.5.8", "1"),
            Self::Time => ("2.5.5.11", "24"),
            Self::Class => ("2.5.5.2", "6"),
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Attribute {
    pub(crate) name: Box<str>,
    pub(crate) oid: Box<str>,
    pub(crate) syntax: Syntax,
    pub(crate) single: bool,
    /// Computed on request, and never part of `*`.
    pub(crate) constructed: bool,
}

macro_rules! attributes {
    ($($id:ident $name:literal $oid:literal $syntax:ident $count:ident;)*) => {
        /// The attributes that code here names.
        #[derive(Clone, Copy)]
        #[repr(u8)]
        #[expect(non_camel_case_types, clippy::upper_case_acronyms, reason = "they become constants of these names")]
        enum Place { $($id),* }
        /// Attribute ids by name.
        #[expect(dead_code, reason = "the schema knows more attributes than the code names")]
        pub(crate) mod at {
            $(pub(crate) const $id: super::AttributeId = super::Place::$id as super::AttributeId;)*
        }
        const KNOWN: &[(&str, &str, Syntax, Count)] = &[$(($name, $oid, Syntax::$syntax, Count::$count)),*];
    };
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Count {
    One,
    Many,
    Built,
}

attributes! {
    OBJECT_CLASS "objectClass" "2.5.4.0" Class Many;
    CN "cn" "2.5.4.3" Text One;
    OU "ou" "2.5.4.11" Text Many;
    DC "dc" "0.9.2342.19200300.100.1.25" Text One;
    SN "sn" "2.5.4.4" Text One;
    TITLE "title" "2.5.4.12" Text One;
    DESCRIPTION "description" "2.5.4.13" Text Many;
    OFFICE "physicalDeliveryOfficeName" "2.5.4.19" Text One;
    TELEPHONE_NUMBER "telephoneNumber" "2.5.4.20" Text One;
    GIVEN_NAME "givenName" "2.5.4.42" Text One;
    INITIALS "initials" "2.5.4.43" Text One;
    MEMBER "member" "2.5.4.31" Name Many;
    DISTINGUISHED_NAME "distinguishedName" "2.5.4.49" Name One;
    INSTANCE_TYPE "instanceType" "1.2.840.113556.1.2.1" Number One;
    WHEN_CREATED "whenCreated" "1.2.840.113556.1.2.2" Time One;
    WHEN_CHANGED "whenChanged" "1.2.840.113556.1.2.3" Time One;
    DISPLAY_NAME "displayName" "1.2.840.113556.1.2.13" Text One;
    USN_CREATED "uSNCreated" "1.2.840.113556.1.2.19" Number One;
    IS_DELETED "isDeleted" "1.2.840.113556.1.2.48" Truth One;
    MEMBER_OF "memberOf" "1.2.840.113556.1.2.102" Name Many;
    USN_CHANGED "uSNChanged" "1.2.840.113556.1.2.120" Number One;
    DEPARTMENT "department" "1.2.840.113556.1.2.141" Text One;
    COMPANY "company" "1.2.840.113556.1.2.146" Text One;
    PROXY_ADDRESSES "proxyAddresses" "1.2.840.113556.1.2.210" Text Many;
    EMPLOYEE_NUMBER "employeeNumber" "1.2.840.113556.1.2.610" Text One;
    EMPLOYEE_TYPE "employeeType" "1.2.840.113556.1.2.613" Text One;
    NAME "name" "1.2.840.113556.1.4.1" Text One;
    OBJECT_GUID "objectGUID" "1.2.840.113556.1.4.2" Bytes One;
    USER_ACCOUNT_CONTROL "userAccountControl" "1.2.840.113556.1.4.8" Number One;
    EMPLOYEE_ID "employeeID" "1.2.840.113556.1.4.35" Text One;
    PWD_LAST_SET "pwdLastSet" "1.2.840.113556.1.4.96" Number One;
    PRIMARY_GROUP_ID "primaryGroupID" "1.2.840.113556.1.4.98" Number One;
    OBJECT_SID "objectSid" "1.2.840.113556.1.4.146" Sid One;
    ACCOUNT_EXPIRES "accountExpires" "1.2.840.113556.1.4.159" Number One;
    S_AM_ACCOUNT_NAME "sAMAccountName" "1.2.840.113556.1.4.221" Text One;
    S_AM_ACCOUNT_TYPE "sAMAccountType" "1.2.840.113556.1.4.302" Number One;
    USER_PRINCIPAL_NAME "userPrincipalName" "1.2.840.113556.1.4.656" Text One;
    LOCKOUT_TIME "lockoutTime" "1.2.840.113556.1.4.662" Number One;
    GROUP_TYPE "groupType" "1.2.840.113556.1.4.750" Number One;
    LAST_KNOWN_PARENT "lastKnownParent" "1.2.840.113556.1.4.781" Name One;
    OBJECT_CATEGORY "objectCategory" "1.2.840.113556.1.4.782" Name One;
    LAST_LOGON_TIMESTAMP "lastLogonTimestamp" "1.2.840.113556.1.4.1696" Number One;
    MAIL "mail" "0.9.2342.19200300.100.1.3" Text One;
    MANAGER "manager" "0.9.2342.19200300.100.1.10" Name One;
    MOBILE "mobile" "0.9.2342.19200300.100.1.41" Text One;
    UID "uid" "0.9.2342.19200300.100.1.1" Text Many;
    COUNTRY "c" "2.5.4.6" Text One;
    LOCALITY "l" "2.5.4.7" Text One;
    STATE "st" "2.5.4.8" Text One;
    COUNTRY_NAME "co" "1.2.840.113556.1.2.131" Text One;
    INFO "info" "1.2.840.113556.1.2.81" Text One;
    THUMBNAIL_PHOTO "thumbnailPhoto" "2.16.840.1.113730.3.1.35" Bytes One;
    ADMIN_COUNT "adminCount" "1.2.840.113556.1.4.150" Number One;
    BAD_PWD_COUNT "badPwdCount" "1.2.840.113556.1.4.12" Number One;
    SERVICE_PRINCIPAL_NAME "servicePrincipalName" "1.2.840.113556.1.4.771" Text Many;
    DNS_HOST_NAME "dNSHostName" "1.2.840.113556.1.4.619" Text One;
    OPERATING_SYSTEM "operatingSystem" "1.2.840.113556.1.4.363" Text One;
    MANAGED_BY "managedBy" "1.2.840.113556.1.4.653" Name One;
    TOMBSTONE_LIFETIME "tombstoneLifetime" "1.2.840.113556.1.2.54" Number One;
    INVOCATION_ID "invocationId" "1.2.840.113556.1.2.115" Bytes One;
    LDAP_DISPLAY_NAME "lDAPDisplayName" "1.2.840.113556.1.2.460" Text One;
    ATTRIBUTE_ID "attributeID" "1.2.840.113556.1.2.30" Class One;
    ATTRIBUTE_SYNTAX "attributeSyntax" "1.2.840.113556.1.2.32" Class One;
    OM_SYNTAX "oMSyntax" "1.2.840.113556.1.2.231" Number One;
    IS_SINGLE_VALUED "isSingleValued" "1.2.840.113556.1.2.33" Truth One;
    IS_RECYCLED "isRecycled" "1.2.840.113556.1.4.2058" Truth One;
    TOKEN_GROUPS "tokenGroups" "1.2.840.113556.1.4.1301" Sid Built;
    PARENT_GUID "parentGUID" "1.2.840.113556.1.4.1224" Bytes Built;
    COMPUTED_CONTROL "msDS-User-Account-Control-Computed" "1.2.840.113556.1.4.1460" Number Built;
}

/// All attributes: the known ones, and those that a test added.
#[derive(Debug, Clone)]
pub(crate) struct Schema {
    attributes: Vec<Attribute>,
    by_name: HashMap<String, AttributeId>,
}

impl Schema {
    pub(crate) fn new() -> Self {
        let mut schema = Self { attributes: Vec::new(), by_name: HashMap::new() };
        for (name, oid, syntax, count) in KNOWN {
            let made = schema.add(name, oid, *syntax, *count != Count::Many);
            schema.attributes[usize::from(made)].constructed = *count == Count::Built;
        }
        schema
    }

    fn add(&mut self, name: &str, oid: &str, syntax: Syntax, single: bool) -> AttributeId {
        let id = AttributeId::try_from(self.attributes.len())
            .unwrap_or_else(|_| panic!("no room for another attribute in the schema"));
        self.attributes.push(Attribute {
            name: name.into(),
            oid: oid.into(),
            syntax,
            single,
            constructed: false,
        });
        self.by_name.insert(name.to_ascii_lowercase(), id);
        id
    }

    /// Returns the attribute of this name (or OID), adding a textual one if there is none.
    pub(crate) fn ensure(&mut self, name: &str) -> AttributeId {
        self.id(name).unwrap_or_else(|| {
            let oid = format!("1.2.840.113556.1.8000.2554.{}", self.attributes.len());
            self.add(name, &oid, Syntax::Text, false)
        })
    }

    pub(crate) fn id(&self, name: &str) -> Option<AttributeId> {
        if let Some(id) = self.by_name.get(name) {
            return Some(*id);
        }
        if let Some(id) = self.by_name.get(&name.to_ascii_lowercase()) {
            return Some(*id);
        }
        let place = self.attributes.iter().position(|known| &*known.oid == name)?;
        AttributeId::try_from(place).ok()
    }

    pub(crate) fn get(&self, id: AttributeId) -> &Attribute {
        &self.attributes[usize::from(id)]
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = AttributeId> + use<> {
        (0..self.attributes.len()).map(|place| place as AttributeId)
    }
}

/// The kind of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The head of the domain.
    Domain,
    /// A plain container, such as `CN=Users`.
    Container,
    OrganizationalUnit,
    Group,
    /// A person who can sign in.
    Person,
    /// A person of the class `inetOrgPerson`.
    InetOrgPerson,
    /// A computer: of class `user`, too, but no person.
    Computer,
    ManagedServiceAccount,
    /// A contact: a person who cannot sign in.
    Contact,
    /// A foreign security principal: a SID of another forest.
    ForeignSecurityPrincipal,
    /// The head of the configuration.
    Configuration,
    /// The head of the schema.
    SchemaHead,
    /// A server object in a site.
    Server,
    /// A server's `NTDS Settings`.
    NtdsSettings,
    /// The entry that holds `tombstoneLifetime`.
    DirectoryService,
    AttributeSchema,
}

impl Kind {
    /// The classes, most general first.
    pub(crate) fn classes(self) -> &'static [&'static str] {
        match self {
            Self::Domain => &["top", "domain", "domainDNS"],
            Self::Container => &["top", "container"],
            Self::OrganizationalUnit => &["top", "organizationalUnit"],
            Self::Group => &["top", "group"],
            Self::Person => &["top", "person", "organizationalPerson", "user"],
            Self::InetOrgPerson => {
                &["top", "person", "organizationalPerson", "user", "inetOrgPerson"]
            }
            Self::Computer => &["top", "person", "organizationalPerson", "user", "computer"],
            Self::ManagedServiceAccount => &[
                "top",
                "person",
                "organizationalPerson",
                "user",
                "computer",
                "msDS-GroupManagedServiceAccount",
            ],
            Self::Contact => &["top", "person", "organizationalPerson", "contact"],
            Self::ForeignSecurityPrincipal => &["top", "foreignSecurityPrincipal"],
            Self::Configuration => &["top", "configuration"],
            Self::SchemaHead => &["top", "dMD"],
            Self::Server => &["top", "server"],
            Self::NtdsSettings => &["top", "applicationSettings", "nTDSDSA"],
            Self::DirectoryService => &["top", "nTDSService"],
            Self::AttributeSchema => &["top", "attributeSchema"],
        }
    }

    /// The `cn` of the class that `objectCategory` refers to.
    pub(crate) fn category(self) -> &'static str {
        match self {
            Self::Domain => "Domain-DNS",
            Self::Container => "Container",
            Self::OrganizationalUnit => "Organizational-Unit",
            Self::Group => "Group",
            Self::Person | Self::InetOrgPerson | Self::Contact => "Person",
            Self::Computer => "Computer",
            Self::ManagedServiceAccount => "ms-DS-Group-Managed-Service-Account",
            Self::ForeignSecurityPrincipal => "Foreign-Security-Principal",
            Self::Configuration => "Configuration",
            Self::SchemaHead => "DMD",
            Self::Server => "Server",
            Self::NtdsSettings => "NTDS-DSA",
            Self::DirectoryService => "NTDS-Service",
            Self::AttributeSchema => "Attribute-Schema",
        }
    }

    /// The attribute type of the entry's own part of its name.
    pub(crate) fn rdn(self) -> &'static str {
        match self {
            Self::Domain => "DC",
            Self::OrganizationalUnit => "OU",
            _ => "CN",
        }
    }

    pub(crate) fn rdn_attribute(self) -> AttributeId {
        match self {
            Self::Domain => at::DC,
            Self::OrganizationalUnit => at::OU,
            _ => at::CN,
        }
    }

    /// Returns whether this is the head of a naming context, which searches from above do not
    /// enter.
    pub(crate) fn is_head(self) -> bool {
        matches!(self, Self::Domain | Self::Configuration | Self::SchemaHead)
    }

    /// Returns whether entries of this kind have a `userAccountControl` and can be disabled.
    pub(crate) fn signs_in(self) -> bool {
        matches!(
            self,
            Self::Person | Self::InetOrgPerson | Self::Computer | Self::ManagedServiceAccount
        )
    }
}

/// Returns the category's `cn` for a class's lDAPDisplayName, as `(objectCategory=person)` uses it.
pub(crate) fn category_of_class(class: &str) -> Option<&'static str> {
    Some(match class.to_ascii_lowercase().as_str() {
        "person" | "user" | "contact" | "organizationalperson" | "inetorgperson" => "Person",
        "computer" => "Computer",
        "group" => "Group",
        "organizationalunit" => "Organizational-Unit",
        "container" => "Container",
        "domaindns" | "domain" => "Domain-DNS",
        "msds-groupmanagedserviceaccount" => "ms-DS-Group-Managed-Service-Account",
        "foreignsecurityprincipal" => "Foreign-Security-Principal",
        "attributeschema" => "Attribute-Schema",
        "configuration" => "Configuration",
        "ntdsdsa" => "NTDS-DSA",
        "server" => "Server",
        _ => return None,
    })
}
