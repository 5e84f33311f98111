//! Mount options: the words of the specification's Linux table, sorted by who takes them.
//!
//! A word is a flag (or takes one back), a recursive attribute, a propagation, one of the
//! runtime's own (`tmpcopyup`, `idmap`, `ridmap`), or else data for the file system, handed on as
//! it stands. Of words that contradict each other the later one wins. Absent: whether a kernel has
//! a flag, and any mounting.

/// `mount(2)` flags, by the kernel's names.
pub(crate) mod ms {
    pub(crate) const RDONLY: u64 = 1;
    pub(crate) const NOSUID: u64 = 1 << 1;
    pub(crate) const NODEV: u64 = 1 << 2;
    pub(crate) const NOEXEC: u64 = 1 << 3;
    pub(crate) const SYNCHRONOUS: u64 = 1 << 4;
    pub(crate) const REMOUNT: u64 = 1 << 5;
    pub(crate) const MANDLOCK: u64 = 1 << 6;
    pub(crate) const DIRSYNC: u64 = 1 << 7;
    pub(crate) const NOSYMFOLLOW: u64 = 1 << 8;
    pub(crate) const NOATIME: u64 = 1 << 10;
    pub(crate) const NODIRATIME: u64 = 1 << 11;
    pub(crate) const BIND: u64 = 1 << 12;
    pub(crate) const REC: u64 = 1 << 14;
    pub(crate) const SILENT: u64 = 1 << 15;
    pub(crate) const UNBINDABLE: u64 = 1 << 17;
    pub(crate) const PRIVATE: u64 = 1 << 18;
    pub(crate) const SLAVE: u64 = 1 << 19;
    pub(crate) const SHARED: u64 = 1 << 20;
    pub(crate) const RELATIME: u64 = 1 << 21;
    pub(crate) const I_VERSION: u64 = 1 << 23;
    pub(crate) const STRICTATIME: u64 = 1 << 24;
    pub(crate) const LAZYTIME: u64 = 1 << 25;

    /// The flags of which a mount has at most one; none of them means `RELATIME` to the kernel.
    pub(crate) const ATIME: u64 = NOATIME | RELATIME | STRICTATIME;
}

/// `mount_setattr(2)` attributes, by the kernel's names.
pub(crate) mod attr {
    pub(crate) const RDONLY: u64 = 0x01;
    pub(crate) const NOSUID: u64 = 0x02;
    pub(crate) const NODEV: u64 = 0x04;
    pub(crate) const NOEXEC: u64 = 0x08;
    /// The access time is a field, not a flag: to set any value the whole field is cleared first.
    pub(crate) const ATIME: u64 = 0x70;
    pub(crate) const RELATIME: u64 = 0x00;
    pub(crate) const NOATIME: u64 = 0x10;
    pub(crate) const STRICTATIME: u64 = 0x20;
    pub(crate) const NODIRATIME: u64 = 0x80;
    pub(crate) const NOSYMFOLLOW: u64 = 0x20_0000;
}

/// What one word does.
#[derive(Clone, Copy)]
enum Word {
    Set(u64),
    Clear(u64),
    Propagation(u64),
    SetAll(u64),
    ClearAll(u64),
    /// Sets the access-time field on the whole tree.
    AtimeAll(u64),
    /// Known, and without effect on a mount that is new.
    Nothing,
    TmpCopyUp,
    Idmap {
        recursive: bool,
    },
}

/// Every word of the table, sorted.
const WORDS: [(&str, Word); 62] = [
    ("async", Word::Clear(ms::SYNCHRONOUS)),
    ("atime", Word::Clear(ms::NOATIME)),
    ("bind", Word::Set(ms::BIND)),
    ("defaults", Word::Nothing),
    ("dev", Word::Clear(ms::NODEV)),
    ("diratime", Word::Clear(ms::NODIRATIME)),
    ("dirsync", Word::Set(ms::DIRSYNC)),
    ("exec", Word::Clear(ms::NOEXEC)),
    ("idmap", Word::Idmap { recursive: false }),
    ("iversion", Word::Set(ms::I_VERSION)),
    ("lazytime", Word::Set(ms::LAZYTIME)),
    ("loud", Word::Clear(ms::SILENT)),
    ("mand", Word::Set(ms::MANDLOCK)),
    ("noatime", Word::Set(ms::NOATIME)),
    ("nodev", Word::Set(ms::NODEV)),
    ("nodiratime", Word::Set(ms::NODIRATIME)),
    ("noexec", Word::Set(ms::NOEXEC)),
    ("noiversion", Word::Clear(ms::I_VERSION)),
    ("nolazytime", Word::Clear(ms::LAZYTIME)),
    ("nomand", Word::Clear(ms::MANDLOCK)),
    ("norelatime", Word::Clear(ms::RELATIME)),
    ("nostrictatime", Word::Clear(ms::STRICTATIME)),
    ("nosuid", Word::Set(ms::NOSUID)),
    ("nosymfollow", Word::Set(ms::NOSYMFOLLOW)),
    ("private", Word::Propagation(ms::PRIVATE)),
    ("ratime", Word::AtimeAll(attr::RELATIME)),
    ("rbind", Word::Set(ms::BIND | ms::REC)),
    ("rdev", Word::ClearAll(attr::NODEV)),
    ("rdiratime", Word::ClearAll(attr::NODIRATIME)),
    ("relatime", Word::Set(ms::RELATIME)),
    ("remount", Word::Set(ms::REMOUNT)),
    ("rexec", Word::ClearAll(attr::NOEXEC)),
    ("ridmap", Word::Idmap { recursive: true }),
    ("rnoatime", Word::AtimeAll(attr::NOATIME)),
    ("rnodev", Word::SetAll(attr::NODEV)),
    ("rnodiratime", Word::SetAll(attr::NODIRATIME)),
    ("rnoexec", Word::SetAll(attr::NOEXEC)),
    ("rnorelatime", Word::Nothing),
    ("rnostrictatime", Word::AtimeAll(attr::RELATIME)),
    ("rnosuid", Word::SetAll(attr::NOSUID)),
    ("rnosymfollow", Word::SetAll(attr::NOSYMFOLLOW)),
    ("ro", Word::Set(ms::RDONLY)),
    ("rprivate", Word::Propagation(ms::PRIVATE | ms::REC)),
    ("rrelatime", Word::AtimeAll(attr::RELATIME)),
    ("rro", Word::SetAll(attr::RDONLY)),
    ("rrw", Word::ClearAll(attr::RDONLY)),
    ("rshared", Word::Propagation(ms::SHARED | ms::REC)),
    ("rslave", Word::Propagation(ms::SLAVE | ms::REC)),
    ("rstrictatime", Word::AtimeAll(attr::STRICTATIME)),
    ("rsuid", Word::ClearAll(attr::NOSUID)),
    ("rsymfollow", Word::ClearAll(attr::NOSYMFOLLOW)),
    ("runbindable", Word::Propagation(ms::UNBINDABLE | ms::REC)),
    ("rw", Word::Clear(ms::RDONLY)),
    ("shared", Word::Propagation(ms::SHARED)),
    ("silent", Word::Set(ms::SILENT)),
    ("slave", Word::Propagation(ms::SLAVE)),
    ("strictatime", Word::Set(ms::STRICTATIME)),
    ("suid", Word::Clear(ms::NOSUID)),
    ("symfollow", Word::Clear(ms::NOSYMFOLLOW)),
    ("sync", Word::Set(ms::SYNCHRONOUS)),
    ("tmpcopyup", Word::TmpCopyUp),
    ("unbindable", Word::Propagation(ms::UNBINDABLE)),
];

/// A mount's options, each where it is used.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct MountOptions {
    /// `MS_…` flags that the words set and did not take back.
    pub(crate) flags: u64,
    /// `MS_…` flags that the words took back: a bind mount must not have them.
    pub(crate) cleared: u64,
    /// What `mount_setattr(2)` does to the mount and all below it, if anything.
    pub(crate) recursive: RecursiveAttrs,
    /// `MS_SHARED` and its kin, with `MS_REC` or without, in the order to apply them.
    pub(crate) propagation: Vec<u64>,
    /// Everything that no table knows, joined by commas.
    pub(crate) data: String,
    /// A tmpfs begins with a copy of what it hides.
    pub(crate) tmpcopyup: bool,
    /// `idmap` or `ridmap`.
    pub(crate) idmap: Option<IdmapOption>,
}

/// The `attr_set` and `attr_clr` of a recursive `mount_setattr(2)`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct RecursiveAttrs {
    pub(crate) set: u64,
    pub(crate) clear: u64,
}

/// How far an id-mapping reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IdmapOption {
    /// The mount itself.
    One,
    /// It and every mount below it.
    Recursive,
}

impl MountOptions {
    /// Sorts the words of one mount.
    pub(crate) fn parse<S: AsRef<str>>(words: &[S]) -> Self {
        let mut options = Self::default();
        for word in words {
            let word = word.as_ref();
            match WORDS.binary_search_by(|(known, _)| (*known).cmp(word)) {
                Ok(index) => options.apply(WORDS[index].1),
                Err(_) => options.add_data(word),
            }
        }
        options
    }

    /// Every word with a meaning of its own, sorted, as `features` lists them.
    pub(crate) fn known_words() -> impl Iterator<Item = &'static str> {
        WORDS.iter().map(|&(word, _)| word)
    }

    fn apply(&mut self, word: Word) {
        match word {
            Word::Set(flags) => {
                if flags & ms::ATIME != 0 {
                    self.flags &= !ms::ATIME;
                }
                self.flags |= flags;
                self.cleared &= !flags;
            }
            Word::Clear(flags) => {
                self.flags &= !flags;
                self.cleared |= flags;
            }
            Word::Propagation(kind) => self.propagation.push(kind),
            Word::SetAll(attrs) => self.recursive.set(attrs),
            Word::ClearAll(attrs) => self.recursive.clear(attrs),
            Word::AtimeAll(value) => {
                self.recursive.clear(attr::ATIME);
                self.recursive.set |= value;
            }
            Word::Nothing => {}
            Word::TmpCopyUp => self.tmpcopyup = true,
            Word::Idmap { recursive: false } => self.idmap = Some(IdmapOption::One),
            Word::Idmap { recursive: true } => self.idmap = Some(IdmapOption::Recursive),
        }
    }

    fn add_data(&mut self, word: &str) {
        if !self.data.is_empty() {
            self.data.push(',');
        }
        self.data.push_str(word);
    }
}

impl RecursiveAttrs {
    fn set(&mut self, attrs: u64) {
        self.set |= attrs;
        self.clear &= !attrs;
    }

    fn clear(&mut self, attrs: u64) {
        self.clear |= attrs;
        self.set &= !attrs;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &str) -> MountOptions {
        MountOptions::parse(&words.split(',').filter(|word| !word.is_empty()).collect::<Vec<_>>())
    }

    fn flags(words: &str) -> (u64, u64) {
        let options = parse(words);
        assert_eq!(options.data, "", "{words}");
        (options.flags, options.cleared)
    }

    fn recursive(words: &str) -> (u64, u64) {
        let attrs = parse(words).recursive;
        (attrs.set, attrs.clear)
    }

    #[test]
    fn the_table_is_sorted_and_complete() {
        assert!(WORDS.is_sorted_by(|(a, _), (b, _)| a < b));
        let of_the_specification = "async atime bind defaults dev diratime dirsync exec iversion \
            lazytime loud mand noatime nodev nodiratime noexec noiversion nolazytime nomand \
            norelatime nostrictatime nosuid nosymfollow private ratime rbind rdev rdiratime \
            relatime remount rexec rnoatime rnodiratime rnoexec rnorelatime rnostrictatime rnosuid \
            rnosymfollow ro rprivate rrelatime rro rrw rshared rslave rstrictatime rsuid \
            rsymfollow runbindable rw shared silent slave strictatime suid symfollow sync \
            tmpcopyup unbindable idmap ridmap rnodev";
        for word in of_the_specification.split_whitespace() {
            assert!(MountOptions::known_words().any(|known| known == word), "{word}");
        }
        assert_eq!(of_the_specification.split_whitespace().count(), WORDS.len());
    }

    #[test]
    fn flags_are_the_kernel_s() {
        use rustix::mount::MountFlags;
        let known = [
            ("ro", MountFlags::RDONLY),
            ("nosuid", MountFlags::NOSUID),
            ("nodev", MountFlags::NODEV),
            ("noexec", MountFlags::NOEXEC),
            ("sync", MountFlags::SYNCHRONOUS),
            ("mand", MountFlags::PERMIT_MANDATORY_FILE_LOCKING),
            ("dirsync", MountFlags::DIRSYNC),
            ("nosymfollow", MountFlags::NOSYMFOLLOW),
            ("noatime", MountFlags::NOATIME),
            ("nodiratime", MountFlags::NODIRATIME),
            ("bind", MountFlags::BIND),
            ("rbind", MountFlags::BIND | MountFlags::REC),
            ("silent", MountFlags::SILENT),
            ("relatime", MountFlags::RELATIME),
            ("strictatime", MountFlags::STRICTATIME),
            ("lazytime", MountFlags::LAZYTIME),
        ];
        for (word, flag) in known {
            assert_eq!(flags(word), (flag.bits().into(), 0), "{word}");
        }
        assert_eq!(flags("remount"), (0x20, 0));
        assert_eq!(flags("iversion"), (0x80_0000, 0));
        assert_eq!(flags("defaults"), (0, 0));
    }

    #[test]
    fn attributes_are_the_kernel_s() {
        use rustix::mount::MountAttrFlags;
        let known = [
            ("rro", MountAttrFlags::MOUNT_ATTR_RDONLY),
            ("rnosuid", MountAttrFlags::MOUNT_ATTR_NOSUID),
            ("rnodev", MountAttrFlags::MOUNT_ATTR_NODEV),
            ("rnoexec", MountAttrFlags::MOUNT_ATTR_NOEXEC),
            ("rnodiratime", MountAttrFlags::MOUNT_ATTR_NODIRATIME),
            ("rnosymfollow", MountAttrFlags::MOUNT_ATTR_NOSYMFOLLOW),
        ];
        for (word, attr) in known {
            assert_eq!(recursive(word), (attr.bits().into(), 0), "{word}");
        }
    }

    #[test]
    fn the_later_word_wins() {
        assert_eq!(flags("ro,rw"), (0, ms::RDONLY));
        assert_eq!(flags("rw,ro"), (ms::RDONLY, 0));
        assert_eq!(flags("nosuid,nodev,suid"), (ms::NODEV, ms::NOSUID));
        assert_eq!(flags("noatime,strictatime"), (ms::STRICTATIME, 0));
        assert_eq!(flags("strictatime,relatime,nodiratime"), (ms::RELATIME | ms::NODIRATIME, 0));
        assert_eq!(flags("noatime,atime"), (0, ms::NOATIME));
        assert_eq!(recursive("rro,rrw"), (0, attr::RDONLY));
        assert_eq!(recursive("rrw,rro"), (attr::RDONLY, 0));
        assert_eq!(parse("idmap,ridmap").idmap, Some(IdmapOption::Recursive));
        assert_eq!(parse("ridmap,idmap").idmap, Some(IdmapOption::One));
    }

    #[test]
    fn recursive_access_times_clear_the_whole_field() {
        for (words, set) in [
            ("rnoatime", 0x10),
            ("rstrictatime", 0x20),
            ("rrelatime", 0),
            ("ratime", 0),
            ("rnostrictatime", 0),
            ("rnoatime,rstrictatime", 0x20),
            ("rstrictatime,rrelatime", 0),
        ] {
            assert_eq!(recursive(words), (set, 0x70), "{words}");
        }
        assert_eq!(parse("rnorelatime").recursive, RecursiveAttrs::default());
        assert_ne!(parse("ratime").recursive, RecursiveAttrs::default());
    }

    #[test]
    fn the_rest_goes_where_it_is_used() {
        let options = parse("mode=755,rbind,rslave,size=65536k,tmpcopyup,private");
        assert_eq!(options.flags, ms::BIND | ms::REC);
        assert_eq!(options.propagation, [ms::SLAVE | ms::REC, ms::PRIVATE]);
        assert_eq!(options.data, "mode=755,size=65536k");
        assert!(options.tmpcopyup && options.idmap.is_none());
        assert_eq!(options.recursive, RecursiveAttrs::default());
        assert_eq!(parse(""), MountOptions::default());
    }
}
