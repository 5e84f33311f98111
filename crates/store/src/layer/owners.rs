//! Whose a file is on disk, if that is not what the layer says.
//!
//! For stores that keep owners moved by some number (a user namespace without id-mapped mounts). Absent on
//! purpose: reading such ranges from `/etc/subuid`; whoever calls has them.

/// Some ids in a row, and where they are on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdRange {
    /// The first of them in layers.
    pub layer: u32,
    /// The first of them on disk.
    pub disk: u32,
    /// How many.
    pub count: u32,
}

/// How ids of layers become ids on disk. Without ranges they stay what they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owners {
    /// For users; ids outside of all ranges cannot be stored.
    pub users: Vec<IdRange>,
    /// For groups.
    pub groups: Vec<IdRange>,
}

impl Owners {
    /// Nothing is moved.
    pub const SAME: Self = Self { users: Vec::new(), groups: Vec::new() };

    /// The owner and the group on disk; the id that has no place there if there is one.
    pub(crate) fn disk_ids(&self, user: u32, group: u32) -> Result<(u32, u32), u32> {
        let to = |ranges: &[IdRange], id| moved(ranges, id, |range| (range.layer, range.disk));
        Ok((to(&self.users, user)?, to(&self.groups, group)?))
    }

    /// The owner and the group as a layer says them.
    pub(crate) fn layer_ids(&self, user: u32, group: u32) -> Result<(u32, u32), u32> {
        let from = |ranges: &[IdRange], id| moved(ranges, id, |range| (range.disk, range.layer));
        Ok((from(&self.users, user)?, from(&self.groups, group)?))
    }
}

fn moved(ranges: &[IdRange], id: u32, ends: impl Fn(&IdRange) -> (u32, u32)) -> Result<u32, u32> {
    if ranges.is_empty() {
        return Ok(id);
    }
    let in_range = |range: &IdRange| {
        let (from, to) = ends(range);
        let offset = id.checked_sub(from).filter(|offset| *offset < range.count)?;
        to.checked_add(offset)
    };
    ranges.iter().find_map(in_range).ok_or(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_moved_there_and_back() {
        let ranges = vec![
            IdRange { layer: 0, disk: 1000, count: 1 },
            IdRange { layer: 1, disk: 100_000, count: 65_536 },
        ];
        let owners = Owners { users: ranges.clone(), groups: ranges };
        for (layer, disk) in [((0, 0), (1000, 1000)), ((1, 65_536), (100_000, 165_535))] {
            assert_eq!(owners.disk_ids(layer.0, layer.1), Ok(disk));
            assert_eq!(owners.layer_ids(disk.0, disk.1), Ok(layer));
        }
        assert_eq!(owners.disk_ids(0, 65_537), Err(65_537));
        assert_eq!(owners.layer_ids(0, 1000), Err(0));
        assert_eq!(Owners::SAME.disk_ids(7, u32::MAX - 1), Ok((7, u32::MAX - 1)));
    }
}
