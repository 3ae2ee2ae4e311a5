//! Our own graceful restart: who is asked to help, and the times.

use std::time::Duration;

use conf::{Config, Router, diff};

const ROUTER: &str = "[router]\nasn = 65000\nrouter-id = \"10.0.0.1\"\n";
const NEIGHBOR: &str =
    "[[neighbor]]\naddress = \"10.0.0.2\"\nasn = 65000\nimport = [\"all\"]\nexport = [\"all\"]\n";

fn parse(fib: &str, keys: &str) -> Result<Config, String> {
    let text = format!("{ROUTER}[fib]\n{fib}\n{NEIGHBOR}{keys}\n");
    conf::parse("p.toml", &text, []).map_err(|errors| errors[0].to_string())
}

/// Whether the neighbour is asked to help, and whether it is helped.
fn modes(fib: &str, keys: &str) -> (bool, bool) {
    let config = parse(fib, keys).expect("a configuration");
    let neighbor = &config.neighbors[0];
    (neighbor.offers_restart(&config.fib), neighbor.graceful_restart.is_some())
}

#[test]
fn neighbors_are_asked_to_help_where_forwarding_outlives_the_daemon() {
    let ports = "interfaces = [\"eth0\"]";
    assert_eq!(modes(ports, ""), (true, true));
    assert_eq!(modes("interfaces = [\"eth0\"]\nkeep-forwarding = false", ""), (false, true));
    assert_eq!(modes("", ""), (false, true), "a pure control plane");
    for on in ["\"on\"", "true"] {
        assert_eq!(modes(ports, &format!("graceful-restart = {on}")), (true, true));
    }
    assert_eq!(modes(ports, "graceful-restart = \"helper\""), (false, true));
    for off in ["\"off\"", "false"] {
        assert_eq!(modes(ports, &format!("graceful-restart = {off}")), (false, false));
    }
}

#[test]
fn nobody_is_asked_to_keep_routes_to_a_router_that_does_not_forward_meanwhile() {
    let refused = |fib| parse(fib, "graceful-restart = \"on\"").expect_err("refused");
    assert_eq!(
        refused(""),
        "p.toml:11: neighbor.graceful-restart: [fib] names no interfaces: nothing is forwarded here while the \
         daemon restarts; expected \"helper\" or \"off\""
    );
    assert_eq!(
        refused("interfaces = [\"eth0\"]\nkeep-forwarding = false"),
        "p.toml:12: neighbor.graceful-restart: [fib] keep-forwarding is false: nothing is forwarded here while \
         the daemon restarts; expected \"helper\" or \"off\""
    );
    let range = format!(
        "{ROUTER}[[neighbor-range]]\nprefix = \"10.0.0.0/24\"\nasn = 65000\ngraceful-restart = true\n"
    );
    let errors = conf::parse("p.toml", &range, []).expect_err("refused");
    assert!(errors[0].to_string().contains("p.toml:7: neighbor-range.graceful-restart"), "{}", errors[0]);
}

#[test]
fn the_times_have_defaults_and_limits() {
    let config = parse("", "").expect("a configuration");
    assert_eq!(config.router.restart_time, Router::DEFAULT_RESTART_TIME);
    assert_eq!(config.router.deferral_time, Duration::from_mins(2));
    let times = |keys: &str| {
        conf::parse("p.toml", &format!("{ROUTER}{keys}\n"), [])
            .map(|config| (config.router.restart_time, config.router.deferral_time.as_secs()))
            .map_err(|errors| errors[0].to_string())
    };
    assert_eq!(times("restart-time = 4095\ndeferral-time = 3600"), Ok((4095, 3600)));
    for (key, most) in [("restart-time", 4095), ("deferral-time", 3600)] {
        for value in [0, most + 1] {
            let expected = format!(
                "p.toml:4: router.{key}: {value} is out of range; expected a number from 1 to {most} (seconds)"
            );
            assert_eq!(times(&format!("{key} = {value}")), Err(expected));
        }
    }
}

#[test]
fn whoever_is_asked_to_help_from_now_on_hears_of_it_in_a_new_session() {
    let ports = "interfaces = [\"eth0\"]";
    let helper = parse(ports, "graceful-restart = \"helper\"").expect("a configuration");
    let on = parse(ports, "").expect("a configuration");
    let shown: Vec<String> = diff(&helper, &on).iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        [
            "~ neighbor 10.0.0.2: graceful-restart: helper, stale routes for 360s -> as forwarding is kept, stale \
          routes for 360s (resets the session)"
        ]
    );
}
