use std::fmt::Write as _;

use adsim::{Ad, NewPerson, Sim};
use ldap3_proto::proto::LdapSearchScope;

use crate::client::{Ask, Client, at, below, control, text};
use crate::company;

const ROOT: &str = "DC=corp,DC=example,DC=com";

async fn few() -> Sim {
    let sim = Sim::builder().start().await.expect("starts");
    sim.edit(|ad| {
        ad.add_ou("", "Staff");
        ad.add_ou("Staff", "Sales");
        ad.add_group("Staff", "Inner");
        ad.add_group("Staff", "Outer");
        ad.add_member("Outer", "Inner");
        ad.add_member("Inner", "Outer");
        let boss = ad.add_person(
            NewPerson::new("boss").name("Ada", "Jürgens").mail("ada@example.com").ou("Staff"),
        );
        ad.add_person(
            NewPerson::new("bob")
                .name("Bob", "Smith, Jr.")
                .mail("Bob.Smith@example.com")
                .ou("Sales")
                .member_of("Inner")
                .manager(boss)
                .with("employeeType", "robot"),
        );
        ad.add_person(NewPerson::new("cat").ou("Sales").disabled());
        ad.add_computer("", "PC1");
        ad.add_contact("Staff", "Carl Contact", "carl@elsewhere.example");
    });
    sim
}

async fn names(client: &mut Client, filter: &str) -> Vec<String> {
    let found = client.ask(below("OU=Staff,DC=corp,DC=example,DC=com", filter, &["name"])).await;
    assert_eq!(found.code, 0, "{filter}: {}", found.text);
    let mut names: Vec<String> =
        found.entries.iter().map(|(_, one)| text(one, "name")[0].to_owned()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn filters_match_as_ad_matches() {
    let sim = few().await;
    let mut client = Client::service(&sim).await;
    let people = ["Ada Jürgens", "Bob Smith, Jr.", "cat"];
    for (filter, expected) in [
        ("(&(objectCategory=person)(objectClass=user))", &people[..]),
        ("(&(objectCategory=person)(!(objectClass=user)))", &["Carl Contact"]),
        ("(mail=bob.smith@EXAMPLE.com)", &people[1..2]),
        ("(sn=JÜRGENS)", &people[..1]),
        ("(displayName=ada*g*ns)", &people[..1]),
        ("(displayName=*smith*)", &people[1..2]),
        ("(userAccountControl:1.2.840.113556.1.4.803:=2)", &people[2..]),
        ("(&(objectClass=user)(!(userAccountControl:1.2.840.113556.1.4.803:=2)))", &people[..2]),
        ("(userAccountControl:1.2.840.113556.1.4.804:=514)", &people),
        ("(&(objectClass=user)(userAccountControl>=513))", &people[2..]),
        ("(userAccountControl<=512)", &people[..2]),
        ("(&(objectClass=user)(!(employeeType=robot)))", &["Ada Jürgens", "cat"]),
        ("(&(objectClass=user)(!(employeType=robot)))", &[]), // misspelt: undefined, not false
        ("(|(employeType=robot)(sAMAccountName=cat))", &people[2..]),
        ("(memberOf=CN=Inner,OU=Staff,DC=corp,DC=example,DC=com)", &["Bob Smith, Jr.", "Outer"]),
        (
            "(memberOf:1.2.840.113556.1.4.1941:=cn=outer,OU=Staff,DC=corp,DC=example,DC=com)",
            &["Bob Smith, Jr.", "Inner", "Outer"],
        ),
        ("(manager=CN=Ada Jürgens,OU=Staff,DC=corp,DC=example,DC=com)", &people[1..2]),
        ("(&(objectClass=group)(member=*))", &["Inner", "Outer"]),
        ("(objectClass=organizationalUnit)", &["Sales", "Staff"]),
        ("(&(primaryGroupID=513)(mail=*))", &people[..2]),
    ] {
        assert_eq!(names(&mut client, filter).await, expected, "{filter}");
    }
}

#[tokio::test]
async fn an_entry_reads_as_ad_shows_it() {
    let sim = few().await;
    let mut client = Client::service(&sim).await;
    let bob = sim.look(|ad| ad.guid("bob"));
    let asked = [
        "MAIL",
        "objectguid",
        "memberOf",
        "objectClass",
        "manager",
        "objectCategory",
        "nosuch",
        "mail",
    ];
    let found = client.ask(at(&format!("<GUID={bob}>"), &asked)).await;
    assert_eq!(found.dns(), [format!("CN=Bob Smith\\, Jr.,OU=Sales,OU=Staff,{ROOT}")]);
    let entry = found.only();
    let spelt: Vec<&str> = entry.keys().map(String::as_str).collect();
    assert_eq!(
        spelt,
        ["mail", "manager", "memberOf", "objectCategory", "objectClass", "objectGUID"]
    );
    assert_eq!(text(entry, "objectClass"), ["top", "person", "organizationalPerson", "user"]);
    assert_eq!(text(entry, "manager"), [format!("CN=Ada Jürgens,OU=Staff,{ROOT}")]);
    assert_eq!(text(entry, "memberOf"), [format!("CN=Inner,OU=Staff,{ROOT}")]);
    assert_eq!(entry["objectGUID"], [bob.to_bytes_le()]);

    let hex = uuid::Uuid::from_bytes(bob.to_bytes_le()).simple();
    assert_eq!(client.ask(at(&format!("<GUID={hex}>"), &["1.1"])).await.entries.len(), 1);
    let sid = sim.look(|ad| ad.sid("bob"));
    let found = client.ask(at(&format!("<SID={sid}>"), &["1.1"])).await;
    assert!(found.only().is_empty());
    let all = client.ask(at(&found.entries[0].0, &[])).await;
    assert_eq!(text(all.only(), "sAMAccountType"), ["805306368"]);
    assert_eq!(text(all.only(), "accountExpires"), ["9223372036854775807"]);
    assert!(!all.only().contains_key("tokenGroups"));
}

#[tokio::test]
async fn moves_and_renames_show_in_every_name_at_once() {
    let sim = few().await;
    let mut client = Client::service(&sim).await;
    // Reads once, so that a cached encoding exists and must be dropped.
    client.ask(below(ROOT, "(mail=bob*)", &["memberOf", "manager"])).await.only();
    sim.edit(|ad| {
        ad.move_to("bob", "Staff");
        ad.rename("Inner", "Core");
        ad.rename("boss", "Ada Byron");
    });
    let found = client.ask(below(ROOT, "(mail=bob*)", &["memberOf", "manager"])).await;
    assert_eq!(found.dns(), [format!("CN=Bob Smith\\, Jr.,OU=Staff,{ROOT}")]);
    assert_eq!(text(found.only(), "memberOf"), [format!("CN=Core,OU=Staff,{ROOT}")]);
    assert_eq!(text(found.only(), "manager"), [format!("CN=Ada Byron,OU=Staff,{ROOT}")]);
    sim.edit(|ad| ad.delete("boss"));
    let again = client.ask(below(ROOT, "(mail=bob*)", &["memberOf", "manager"])).await;
    assert!(!again.only().contains_key("manager"));
    let found = client.ask(at(&format!("CN=Core,OU=Staff,{ROOT}"), &["member"])).await;
    assert!(
        text(found.only(), "member")
            .contains(&format!("CN=Bob Smith\\, Jr.,OU=Staff,{ROOT}").as_str())
    );
}

#[tokio::test]
async fn a_primary_group_does_not_list_its_primary_members() {
    let sim = few().await;
    let mut client = Client::service(&sim).await;
    sim.edit(|ad| ad.set_primary_group("bob", "Inner"));
    let found =
        client.ask(below(ROOT, "(sAMAccountName=bob)", &["memberOf", "primaryGroupID"])).await;
    assert_eq!(text(found.only(), "memberOf"), [format!("CN=Domain Users,CN=Users,{ROOT}")]);
    let rid = sim.look(|ad| ad.sid("Inner")).rsplit('-').next().map(str::to_owned);
    assert_eq!(text(found.only(), "primaryGroupID"), [rid.expect("a RID")]);
}

#[tokio::test]
async fn a_missing_base_names_the_nearest_entry_and_another_forest_is_a_referral() {
    let sim = few().await;
    let mut client = Client::service(&sim).await;
    let found =
        client.ask(below(&format!("OU=Nowhere,OU=Staff,{ROOT}"), "(objectClass=*)", &[])).await;
    assert_eq!(found.code, 32);
    assert!(
        found.text.contains("problem 2001 (NO_OBJECT)")
            && found.text.contains(&format!("'OU=Staff,{ROOT}'"))
    );
    let found = client.ask(below("OU=Staff,DC=other,DC=com", "(objectClass=*)", &[])).await;
    assert_eq!(found.code, 10);
}

#[tokio::test]
async fn a_search_at_the_root_refers_to_the_configuration_by_default() {
    let sim = few().await;
    let mut client = Client::service(&sim).await;
    let ask = || below(ROOT, "(objectClass=organizationalUnit)", &["1.1"]);
    let found = client.ask(Ask { controls: vec![], ..ask() }).await;
    assert_eq!(found.references, [format!("ldap://corp.example.com/CN=Configuration,{ROOT}")]);
    assert!(client.ask(ask()).await.references.is_empty());
    let found = client.ask(Ask { controls: vec![control("1.2.3.4")], ..ask() }).await;
    assert_eq!(found.code, 12);
}

#[tokio::test]
async fn one_level_stops_at_the_children() {
    let sim = few().await;
    let mut client = Client::service(&sim).await;
    let ask = below(ROOT, "(objectClass=*)", &["name"]);
    let found = client.ask(Ask { scope: LdapSearchScope::OneLevel, ..ask }).await;
    let names: Vec<&str> = found.entries.iter().map(|(_, one)| text(one, "name")[0]).collect();
    assert_eq!(names, ["Users", "Computers", "Service Accounts", "Staff", "PC1"]);
}

#[tokio::test]
async fn the_rootdse_schema_and_configuration_show_what_a_client_checks() {
    let sim = few().await;
    let mut client = Client::service(&sim).await;
    let root = client.ask(at("", &[])).await;
    let root = root.only();
    let service = text(root, "dsServiceName")[0].to_owned();
    assert_eq!(service, sim.ds_service_name());
    assert!(text(root, "supportedCapabilities").contains(&"1.2.840.113556.1.4.800"));
    let usn: u64 = text(root, "highestCommittedUSN")[0].parse().expect("a number");
    sim.edit(|ad| ad.disable("bob"));
    let again = client.ask(at("", &["highestCommittedUSN"])).await;
    assert!(text(again.only(), "highestCommittedUSN")[0].parse::<u64>().expect("a number") > usn);

    let settings = client.ask(at(&service, &["invocationId"])).await;
    assert_eq!(settings.only()["invocationId"], [sim.invocation_id().to_bytes_le()]);

    let schema = text(root, "schemaNamingContext")[0].to_owned();
    let found = client
        .ask(below(
            &schema,
            "(&(objectClass=attributeSchema)(lDAPDisplayName=MAIL))",
            &["attributeID"],
        ))
        .await;
    assert_eq!(text(found.only(), "attributeID"), ["0.9.2342.19200300.100.1.3"]);
    let found = client.ask(below(&schema, "(lDAPDisplayName=extensionAttribute1)", &[])).await;
    assert!(found.entries.is_empty());
    let lifetime =
        format!("CN=Directory Service,CN=Windows NT,CN=Services,CN=Configuration,{ROOT}");
    let found = client.ask(at(&lifetime, &["tombstoneLifetime"])).await;
    assert_eq!(text(found.only(), "tombstoneLifetime"), ["180"]);
}

#[tokio::test]
async fn batches_of_guids_are_found_without_a_scan() {
    let sim = company(3000).await;
    let mut client = Client::service(&sim).await;
    let guids = sim.look(Ad::people);
    let mut filter = "(&(objectCategory=person)(|".to_owned();
    for guid in guids.iter().skip(700).step_by(11).take(200) {
        filter.push_str("(objectGUID=");
        for byte in guid.to_bytes_le() {
            write!(filter, "\\{byte:02x}").expect("text");
        }
        filter.push(')');
    }
    filter.push_str("))");
    let found = client.ask(below(ROOT, &filter, &["objectGUID"])).await;
    assert_eq!(found.entries.len(), 200);
    assert_eq!(found.entries[3].1["objectGUID"], [guids[733].to_bytes_le()]);
}

#[tokio::test]
async fn unreadable_values_appear_to_be_absent() {
    let sim = company(60).await;
    let mut client = Client::service(&sim).await;
    let people = "(&(objectCategory=person)(objectClass=user))";
    let before = client.ask(below(ROOT, people, &["mail"])).await.entries.len();
    sim.edit(|ad| ad.hide_subtree("Sales"));
    let found = client.ask(below(ROOT, people, &["mail"])).await;
    assert_eq!((found.code, found.entries.len()), (0, before - 10));
    assert_eq!(
        client.ask(at(&format!("OU=Sales,OU=Staff,{ROOT}"), &["ou"])).await.entries.len(),
        1
    );
    sim.edit(|ad| {
        ad.show_subtree("Sales");
        ad.hide_attribute("mail", Some("Sales".into()));
        ad.hide_attribute("memberOf", None);
        ad.hide_members("Roster Basic");
    });
    let found = client.ask(below(ROOT, people, &["mail", "memberOf"])).await;
    assert_eq!(found.entries.len(), before);
    assert_eq!(found.entries.iter().filter(|(_, one)| one.contains_key("mail")).count(), 50);
    assert!(!found.entries.iter().any(|(_, one)| one.contains_key("memberOf")));
    let found = client.ask(below(ROOT, "(&(objectClass=user)(!(mail=*)))", &["1.1"])).await;
    assert_eq!(found.entries.len(), 11, "10 people of Sales and the service account");
    let group = format!("CN=Roster Basic,OU=Groups,{ROOT}");
    assert!(!client.ask(at(&group, &["member"])).await.only().contains_key("member"));
}
