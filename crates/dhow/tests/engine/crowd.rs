//! Containers that come and go beside traffic that goes on; and two engines in one network namespace.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::whole::{IMAGE, TestEngine, say, until};

/// Twenty a second.
const PACE: Duration = Duration::from_millis(50);
const SERVE: &str = "echo served >/tmp/index.html; exec httpd -f -p 80 -h /tmp";

/// How many containers: some, or what `DHOW_CROWD` says (500 for a trial that tells something).
fn count() -> usize {
    std::env::var("DHOW_CROWD").ok().and_then(|text| text.parse().ok()).unwrap_or(20)
}

fn devices() -> usize {
    let mut links = dhow_sys::Links::open().expect("a socket");
    links.list().expect("devices").len()
}

fn median(times: &[Duration]) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort();
    sorted[sorted.len() / 2]
}

#[test]
fn containers_come_and_go_beside_traffic() {
    let test = "containers_come_and_go_beside_traffic";
    let Some(engine) = TestEngine::start(test) else { return };
    engine.ok(&["network", "create", "front"]);
    let serve = ["run", "-d", "--name", "web", "--network", "front", "-p", "8080:80", IMAGE];
    engine.ok(&[&serve[..], &["sh", "-c", SERVE]].concat());
    until("the server answers", || super::life::fetch(8080).filter(|page| page.contains("served")));
    let run = |number: usize| {
        let port = format!("{}:80", 20000 + number);
        let words = ["run", "--rm", "--network", "front", "-p", &port, IMAGE, "true"];
        let begun = Instant::now();
        engine.ok(&words);
        begun.elapsed()
    };
    // What one leaves that was not there before is there already: namespaces that are kept ready.
    run(0);
    let (over, fetched, failed) =
        (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    let count = count();
    let times = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let page = super::life::fetch(8080).filter(|page| page.contains("served"));
                let place = if page.is_some() { &fetched } else { &failed };
                place.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        let begun = Instant::now();
        let runs: Vec<_> = (1..=count)
            .map(|number| {
                let due = PACE * u32::try_from(number).expect("few");
                std::thread::sleep(due.saturating_sub(begun.elapsed()));
                let run = &run;
                scope.spawn(move || run(number))
            })
            .collect();
        let times: Vec<_> = runs.into_iter().map(|run| run.join().expect("no panic")).collect();
        over.store(true, Ordering::Relaxed);
        times
    });
    let part = count / 5;
    let (first, last) = (median(&times[..part]), median(&times[count - part..]));
    let (fetched, failed) = (fetched.into_inner(), failed.into_inner());
    say(&format!(
        "{count} containers: the first fifth took {first:?}, the last {last:?} (medians); \
         {fetched} pages meanwhile, {failed} not had"
    ));
    assert!(failed == 0 && fetched > 0, "{failed} of {fetched}");
    let members = "{{range .Containers}}{{.Name}} {{end}}";
    assert_eq!(engine.ok(&["network", "inspect", "-f", members, "front"]), "web");
    let names = std::fs::read_dir(engine.root.join("run/netns")).expect("pins").count();
    assert_eq!(names, 1);
    let rules =
        engine.ok(&["network", "inspect", "--verbose", "-f", "{{json .DhowRules}}", "front"]);
    assert_eq!(rules.matches("map ports:").count(), 1, "{rules}");
    engine.ok(&["rm", "-f", "web"]);
    // A bridge, the loopback, and as many pairs as are kept ready: never one for each that was there.
    until("devices go", || (devices() < 12).then_some(()));
}

#[test]
fn two_engines_in_one_network_namespace_do_not_meet() {
    let test = "two_engines_in_one_network_namespace_do_not_meet";
    let Some(one) = TestEngine::start(test) else { return };
    let mut two = one.beside();
    let engines = |two: &TestEngine, words: &[&str]| [one.ok(words), two.ok(words)];
    engines(&two, &["network", "create", "--ipv6", "front"]);
    let subnets = "{{range .IPAM.Config}}{{.Subnet}} {{end}}";
    let [a, b] = engines(&two, &["network", "inspect", "-f", subnets, "front"]);
    for (a, b) in a.split_whitespace().zip(b.split_whitespace()) {
        assert_ne!(a, b);
    }
    let serve = ["run", "-d", "--name", "web", "--network", "front", "-P", "--expose", "80", IMAGE];
    engines(&two, &[&serve[..], &["sh", "-c", SERVE]].concat());
    let [a, b] = engines(&two, &["port", "web", "80/tcp"]);
    let port = |told: &str| -> u16 {
        let line = told.lines().next().expect("a port");
        line.rsplit(':').next().and_then(|text| text.parse().ok()).expect("a number")
    };
    let served = |port| super::life::fetch(port).filter(|page| page.contains("served"));
    until("one answers", || served(port(&a)));
    until("the other answers", || served(port(&b)));
    // A port that one has is in use for the other.
    let taken = format!("{}:80", port(&a));
    let refused = two.dhow(&["run", "--rm", "-p", &taken, IMAGE, "true"]);
    assert!(refused.err.contains("address already in use"), "{refused:?}");
    // The end of one, of whatever kind, is nothing to the other.
    two.kill();
    two.open();
    assert!(served(port(&a)).is_some() && served(port(&b)).is_some());
    two.ok(&["rm", "-f", "web"]);
    two.ok(&["network", "rm", "front"]);
    drop(two);
    assert!(served(port(&a)).is_some());
    let name = one.ok(&["exec", "web", "nslookup", "web", "127.0.0.11"]);
    assert!(name.contains("web"), "{name}");
}
