//! Compiled profiles against the oracle, for every number and for arguments around every value
//! compared, and against the kernel.

use super::oracle::{Call, Reader, run};
use super::{NATIVE_ARCH, compile};
use dhow_spec::runtime::{
    Seccomp, SeccompAction, SeccompArch, SeccompArg, SeccompOperator, SeccompRule, Spec,
};
use dhow_sys::load_seccomp;
use std::path::Path;

/// Numbers that no table has, at the edges of everything.
const EDGES: [u32; 14] = [
    600,
    1 << 16,
    0xe_ffff,
    0xf_0000,
    0xf_0001,
    0xf_0007,
    0x3fff_ffff,
    0x4000_0000,
    0x4000_0001,
    0x4000_0250,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_fffe,
    0xffff_ffff,
];

/// A small generator: tests repeat, and the standard library has none.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() >> 33) as usize % end
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// Values that share halves with each other, so that comparisons meet.
    fn value(&mut self) -> u64 {
        let halves = [0, 1, 2, 40, 0x2_0008, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff];
        let high = if self.below(2) == 0 { 0 } else { self.pick(&halves) };
        high << 32 | self.pick(&halves)
    }
}

/// Checks all numbers up to 600 and the edges, each with a few sets of arguments.
fn agree(seccomp: &Seccomp, native: SeccompArch, random: &mut Random) {
    let program = compile(seccomp, native).unwrap().program;
    let reader = Reader::new(seccomp, native);
    let values = values(seccomp);
    let numbers = (0..600).chain(0x4000_0000..0x4000_0250).chain(EDGES);
    for number in numbers {
        for audit in reader.audits().into_iter().chain([0x4000_00ff]) {
            for _ in 0..arguments_for(seccomp, number) {
                let arguments = std::array::from_fn(|_| match random.below(4) {
                    0 => random.value(),
                    _ => random.pick(&values),
                });
                let call = Call { number, audit, arguments };
                let (got, wanted) = (run(&program, &call), reader.verdicts(&call));
                assert!(
                    wanted.contains(&got),
                    "{call:x?}: {got:#x} instead of {wanted:x?} in {seccomp:?}"
                );
            }
        }
    }
}

/// Numbers below 600 may have rules about arguments; the rest may not.
fn arguments_for(seccomp: &Seccomp, number: u32) -> usize {
    let asks = seccomp.syscalls.iter().any(|rule| !rule.args.is_empty());
    if asks && number & 0x3fff_ffff < 600 { 12 } else { 1 }
}

/// What the profile compares with, and what lies beside.
fn values(seccomp: &Seccomp) -> Vec<u64> {
    let compared = seccomp.syscalls.iter().flat_map(|rule| &rule.args);
    let around = compared.flat_map(|arg| {
        let flipped = arg.value ^ 1 << 32;
        [arg.value, arg.value_two, arg.value.wrapping_sub(1), arg.value.wrapping_add(1), flipped]
    });
    around.chain([0, u64::MAX]).collect()
}

fn rule(names: &[&str], action: SeccompAction, args: Vec<SeccompArg>) -> SeccompRule {
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    SeccompRule { names, action, errno_ret: None, args }
}

fn profile(
    default: SeccompAction,
    architectures: &[SeccompArch],
    syscalls: Vec<SeccompRule>,
) -> Seccomp {
    Seccomp {
        default_action: default,
        default_errno_ret: None,
        architectures: architectures.to_vec(),
        flags: None,
        listener_path: None,
        listener_metadata: None,
        syscalls,
    }
}

const MACHINES: [(SeccompArch, &[SeccompArch]); 5] = [
    (SeccompArch::X86_64, &[]),
    (SeccompArch::X86_64, &[SeccompArch::X86_64, SeccompArch::X86, SeccompArch::X32]),
    (SeccompArch::X86_64, &[SeccompArch::X32]),
    (SeccompArch::Aarch64, &[SeccompArch::Arm, SeccompArch::Aarch64]),
    (SeccompArch::S390x, &[]),
];

#[test]
fn random_profiles() {
    // On some machines some of these have several numbers or none, share one, or are multiplexed.
    const NAMES: [&str; 24] = [
        "read",
        "write",
        "open",
        "close",
        "clone",
        "execve",
        "ioctl",
        "socket",
        "bind",
        "connect",
        "socketcall",
        "personality",
        "set_tls",
        "usr26",
        "arch_prctl",
        "clone3",
        "openat2",
        "_llseek",
        "futex",
        "futex_time64",
        "mmap",
        "mmap2",
        "landlock_create_ruleset",
        "nonsense",
    ];
    const ACTIONS: [SeccompAction; 6] = [
        SeccompAction::Allow,
        SeccompAction::Errno,
        SeccompAction::KillProcess,
        SeccompAction::Trap,
        SeccompAction::Trace,
        SeccompAction::Log,
    ];
    let mut random = Random(7);
    for round in 0..60 {
        let rules = 1 + random.below(12);
        let rules = (0..rules).map(|_| {
            let names = 1 + random.below(6);
            let names = (0..names).map(|_| random.pick(&NAMES)).collect::<Vec<_>>();
            let args = random.below(4).saturating_sub(1);
            let args = (0..args).map(|_| SeccompArg {
                index: random.below(3) as u32,
                value: random.value(),
                value_two: random.value(),
                op: random.pick(SeccompOperator::ALL),
            });
            let args = args.collect();
            rule(&names, random.pick(&ACTIONS), args)
        });
        let rules = rules.collect();
        let (native, architectures) = MACHINES[round % MACHINES.len()];
        agree(&profile(random.pick(&ACTIONS), architectures, rules), native, &mut random);
    }
}

#[test]
fn profiles_without_rules() {
    let mut random = Random(1);
    for (native, architectures) in MACHINES {
        for default in [SeccompAction::Allow, SeccompAction::Errno, SeccompAction::Kill] {
            agree(&profile(default, architectures, Vec::new()), native, &mut random);
        }
    }
}

#[test]
fn the_narrower_rule_wins() {
    let ask = |op, value| vec![SeccompArg { index: 0, value, value_two: 0, op }];
    let calls = ["read"];
    let seccomp = profile(
        SeccompAction::Allow,
        &[],
        vec![
            rule(&calls, SeccompAction::Errno, ask(SeccompOperator::Greater, 10)),
            rule(&calls, SeccompAction::Trap, ask(SeccompOperator::Greater, 20)),
            rule(&calls, SeccompAction::Log, ask(SeccompOperator::Equal, 30)),
        ],
    );
    let program = compile(&seccomp, SeccompArch::X86_64).unwrap().program;
    let verdicts = [10, 11, 21, 30, 31].map(|first| {
        let arguments = [first, 0, 0, 0, 0, 0];
        run(&program, &Call { number: 0, audit: 0xc000_003e, arguments })
    });
    let [allow, errno, trap, log] = [0x7fff_0000, 0x0005_0001, 0x0003_0000, 0x7ffc_0000];
    assert_eq!(verdicts, [allow, errno, trap, log, trap]);
}

#[test]
fn an_engine_s_profile() {
    let json = include_str!("../../../spec/tests/data/engine-config.json");
    let seccomp = Spec::parse(json.as_bytes()).unwrap().linux.unwrap().seccomp.unwrap();
    agree(&seccomp, SeccompArch::X86_64, &mut Random(3));
    let one = Seccomp { architectures: Vec::new(), ..seccomp.clone() };
    agree(&one, SeccompArch::X86_64, &mut Random(4));
    // The sizes are budgets: a loaded filter is run for every number once.
    let length = |seccomp| compile(seccomp, SeccompArch::X86_64).unwrap().program.len();
    assert!(length(&one) <= 200, "{}", length(&one));
    assert!(length(&seccomp) <= 600, "{}", length(&seccomp));
}

/// Loads a profile in a thread of its own and does something there.
fn behind<T: Send>(seccomp: &Seccomp, body: impl FnOnce() -> T + Send) -> T {
    let filter = compile(seccomp, NATIVE_ARCH).unwrap();
    std::thread::scope(|scope| {
        let run = || {
            rustix::thread::set_no_new_privs(true).unwrap();
            assert!(load_seccomp(&filter.program, filter.flags).unwrap().is_none());
            body()
        };
        scope.spawn(run).join().unwrap()
    })
}

#[test]
fn the_kernel_compares_both_halves() {
    let beyond =
        SeccompArg { index: 1, value: 1 << 32, value_two: 0, op: SeccompOperator::Greater };
    let rules = vec![rule(&["ftruncate"], SeccompAction::Errno, vec![beyond])];
    let file = rustix::fs::memfd_create("sparse", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    let [at, above] = behind(&profile(SeccompAction::Allow, &[], rules), || {
        [1 << 32, (1 << 32) + 1].map(|length| rustix::fs::ftruncate(&file, length))
    });
    assert_eq!((at, above), (Ok(()), Err(rustix::io::Errno::PERM)));
}

#[test]
fn the_kernel_takes_an_engine_s_profile() {
    let json = include_str!("../../../spec/tests/data/engine-config.json");
    let seccomp = Spec::parse(json.as_bytes()).unwrap().linux.unwrap().seccomp.unwrap();
    // Reading /proc is allowed, and says that there is a filter now.
    let status = behind(&seccomp, || std::fs::read_to_string("/proc/thread-self/status").unwrap());
    assert!(status.lines().any(|line| line == "Seccomp:\t2"), "{status}");
}

/// Docker's own format, whose rules have conditions, for all that its default profile can become.
#[test]
#[expect(clippy::print_stderr, reason = "a skipped test must say so")]
fn the_default_profile_of_docker() {
    let reference = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/reference");
    let Ok(text) = std::fs::read_to_string(reference.join("seccomp/docker-default.json")) else {
        eprintln!("SKIPPED the_default_profile_of_docker: reference data absent");
        return;
    };
    let json = serde_json::from_str(&text).unwrap();
    let machines = [
        (SeccompArch::X86_64, "amd64", MACHINES[1].1),
        (SeccompArch::Aarch64, "arm64", MACHINES[3].1),
        (SeccompArch::S390x, "s390x", MACHINES[4].1),
    ];
    let mut random = Random(5);
    for (native, go_arch, architectures) in machines {
        for caps in [&[][..], &["CAP_SYS_ADMIN", "CAP_SYS_PTRACE", "CAP_BPF"]] {
            agree(&resolve(&json, go_arch, architectures, caps), native, &mut random);
        }
    }
}

/// What the rules come to on a machine for a process with some capabilities.
fn resolve(
    json: &serde_json::Value,
    go_arch: &str,
    architectures: &[SeccompArch],
    caps: &[&str],
) -> Seccomp {
    let lists = |filter: &serde_json::Value, field: &str, has: &dyn Fn(&str) -> bool| {
        let words = filter[field].as_array().map(Vec::as_slice).unwrap_or_default();
        let words = words.iter().map(|word| word.as_str().unwrap()).collect::<Vec<_>>();
        (!words.is_empty()).then(|| words.into_iter().any(has))
    };
    let has_arch = |word: &str| word == go_arch;
    let has_cap = |word: &str| caps.contains(&word);
    let applies = |rule: &&serde_json::Value| {
        let (includes, excludes) = (&rule["includes"], &rule["excludes"]);
        lists(includes, "arches", &has_arch) != Some(false)
            && lists(includes, "caps", &has_cap) != Some(false)
            && lists(excludes, "arches", &has_arch) != Some(true)
            && lists(excludes, "caps", &has_cap) != Some(true)
    };
    let rules = json["syscalls"].as_array().unwrap().iter().filter(applies);
    let rules = rules.map(|rule| serde_json::from_value(rule.clone()).unwrap());
    profile(SeccompAction::Errno, architectures, rules.collect())
}
