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

/// How often an engine is killed: enough for every run, or what `DHOW_KILLS` says.
fn kills() -> u64 {
    std::env::var("DHOW_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(3)
}

/// What a client does over and over, whether or not there is an engine: all that changes networks.
fn change(engine: &TestEngine, worker: usize, is_over: &AtomicBool) {
    let (name, net) = (format!("c{worker}"), format!("n{worker}"));
    let port = format!("{}:80", 21000 + worker);
    let more = format!("{}:81", 22000 + worker);
    let steps: &[&[&str]] = &[
        &["network", "create", &net],
        &["run", "-d", "--name", &name, "--network", &net, "-p", &port, IMAGE, "sleep", "1000"],
        &["network", "connect", "shared", &name],
        &["update", "--publish-add", &more, &name],
        &["network", "disconnect", "shared", &name],
        &["update", "--publish-rm", "81", &name],
        &["stop", "-t", "0", &name],
        &["start", &name],
        &["rm", "-f", &name],
        &["network", "rm", &net],
    ];
    for words in steps.iter().cycle() {
        if is_over.load(Ordering::Relaxed) {
            return;
        }
        // One that fails because of what the engine's death left undone is tried again in its turn.
        engine.dhow(words);
    }
}

#[test]
fn engines_are_killed_amid_changes_of_networks() {
    let test = "engines_are_killed_amid_changes_of_networks";
    let Some(mut engine) = TestEngine::start(test) else { return };
    engine.ok(&["network", "create", "shared"]);
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    for round in 0..kills() {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for worker in 0..2 {
                let (engine, over) = (&engine, &over);
                scope.spawn(move || change(engine, worker, over));
            }
            std::thread::sleep(Duration::from_millis(200 + seed % 500));
            engine.strike();
            over.store(true, Ordering::Relaxed);
        });
        engine.kill();
        engine.open();
        assert_tidy(&engine, round);
    }
    let all = engine.ok(&["ps", "-aq"]);
    let all: Vec<_> = all.lines().collect();
    if !all.is_empty() {
        engine.ok(&[&["rm", "-f"], &all[..]].concat());
    }
    engine.ok(&["network", "prune", "-f"]);
    until("devices go", || (devices() < 12).then_some(()));
    assert_eq!(std::fs::read_dir(engine.root.join("run/netns")).map_or(0, Iterator::count), 0);
}

/// Nothing is there that belongs to nobody: namespaces, devices, rules, tables of names.
fn assert_tidy(engine: &TestEngine, round: u64) {
    let lines =
        |words: &[&str]| -> Vec<String> { engine.ok(words).lines().map(str::to_owned).collect() };
    // Whoever was being started or ended is one or the other soon.
    let names = |kind: &str| -> Vec<String> {
        let places = std::fs::read_dir(engine.root.join(kind)).into_iter().flatten().flatten();
        places.map(|place| place.file_name().to_string_lossy().into_owned()).collect()
    };
    until("there are as many namespaces as containers that run", || {
        let mut running = lines(&["ps", "-q", "--no-trunc"]);
        let mut pins = names("run/netns");
        running.sort();
        pins.sort();
        (running == pins).then_some(())
    });
    let networks = lines(&["network", "ls", "-q", "--no-trunc", "-f", "type=custom"]);
    let bridges = || {
        let mut links = dhow_sys::Links::open().expect("a socket");
        let all = links.list().expect("devices");
        let names = all.into_iter().map(|link| link.name.to_string_lossy().into_owned());
        names.collect::<Vec<_>>()
    };
    // One that is on record and not there is made again when somebody needs it.
    let known: Vec<_> = networks.iter().map(|id| format!("br-{}", &id[..12])).collect();
    for name in bridges().iter().filter(|name| name.starts_with("br-")) {
        assert!(known.contains(name), "{round}: {name} is of no network");
    }
    for table in names("run/network/names") {
        assert!(networks.contains(&table), "{round}: names of {table}, which is no network");
    }
    until("rules are of the ports that are told", || {
        let rules =
            |id: &String| engine.ok(&["network", "inspect", "-v", "-f", "{{json .DhowRules}}", id]);
        let published: usize =
            networks.iter().map(|id| rules(id).matches("map ports:").count()).sum();
        let ports = lines(&["ps", "--format", "{{.Ports}}"]).join(",");
        (published == ports.matches("0.0.0.0:").count()).then_some(())
    });
    let told = "{{range .Containers}}{{.Name}}\n{{end}}";
    let members = |id: &String| lines(&["network", "inspect", "-f", told, id]).len();
    let members: usize = networks.iter().map(members).sum();
    // Some are kept ready; never one for each that was there.
    let ready = 8 + 2 * networks.len();
    until("devices of those who are gone go", || {
        let pairs = bridges().into_iter().filter(|name| name.starts_with("veth")).count();
        (pairs <= members + ready).then_some(())
    });
}
