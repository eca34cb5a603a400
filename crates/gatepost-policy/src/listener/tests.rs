use super::*;
use crate::test_policy::{self, entry, errors, found};

#[test]
fn one_network_of_two_entries_on_one_listener_is_refused() {
    let text = entry("a", r#"["10.1.0.0/16"]"#, "")
        + &entry("b", r#"["10.2.0.0/16", "10.1.0.0/16"]"#, "services = [\"submission\"]");
    let errors = errors(&text);
    assert_eq!(errors.len(), 1, "{errors:?}");
    let told =
        "policy.toml:6:1: entry b: network 10.1.0.0/16 on listener submission belongs to entry a";
    assert!(errors[0].starts_with(told), "{errors:?}");

    let everywhere = entry("a", r#"["10.1.0.0/16"]"#, "") + &entry("b", r#"["10.1.0.0/16"]"#, "");
    assert_eq!(
        test_policy::compile(&everywhere).expect_err("a conflict").count(),
        1,
        "once, not per listener"
    );

    let apart = entry("a", r#"["10.1.0.0/16"]"#, "services = [\"smtp\"]")
        + &entry("b", r#"["10.1.0.0/16"]"#, "services = [\"submission\"]");
    let ruleset = test_policy::compile(&apart).expect("different listeners").ruleset;
    assert_eq!(found(&ruleset, 0, "10.1.1.1").as_deref(), Some("a"));
    assert_eq!(found(&ruleset, 1, "10.1.1.1").as_deref(), Some("b"));
    assert_eq!(found(&ruleset, 2, "10.1.1.1"), None);

    let disabled =
        entry("a", r#"["10.1.0.0/16"]"#, "") + &entry("b", r#"["10.1.0.0/16"]"#, "enabled = false");
    assert!(test_policy::compile(&disabled).is_ok());
}

#[test]
fn a_network_twice_in_one_entry_is_a_warning() {
    let text = entry("a", r#"["10.1.0.0/16", "10.1.0.0/16"]"#, "services = [\"smtp\", \"smtp\"]");
    let warnings = test_policy::warnings(&test_policy::compile(&text).expect("a good policy"));
    assert_eq!(
        warnings,
        ["policy.toml:1:1: entry a: network 10.1.0.0/16 is named twice; leave one out"]
    );
}

#[test]
fn listeners_that_see_the_same_share_a_table() {
    let text = entry("a", r#"["10.1.0.0/16"]"#, "")
        + &entry("b", r#"["10.2.0.0/16"]"#, "services = [\"smtp\"]");
    let ruleset = test_policy::compile(&text).expect("a good policy").ruleset;
    let views = ruleset.views();
    assert!(!Arc::ptr_eq(&views[0].table, &views[1].table));
    assert!(Arc::ptr_eq(&views[1].table, &views[2].table));
}
