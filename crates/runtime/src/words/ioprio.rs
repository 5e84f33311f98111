//! I/O priority: class and level packed for `ioprio_set(2)`.

use super::{WordError, look_up};

const CLASSES: [(&str, u16); 3] =
    [("IOPRIO_CLASS_RT", 1), ("IOPRIO_CLASS_BE", 2), ("IOPRIO_CLASS_IDLE", 3)];

/// Where the class begins in the kernel's number.
const CLASS_SHIFT: u16 = 13;

/// The kernel's number for `class` at `level`, 0 (first) to 7 (last).
pub(crate) fn io_priority(class: &str, level: i32) -> Result<u16, WordError> {
    let class = look_up("I/O priority class", &CLASSES, class)?;
    match u16::try_from(level) {
        Ok(level @ 0..=7) => Ok(class << CLASS_SHIFT | level),
        _ => Err(WordError::Range { kind: "I/O priority", value: level.into(), min: 0, max: 7 }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn class_and_level_are_packed() {
        assert_eq!(io_priority("IOPRIO_CLASS_RT", 0), Ok(0x2000));
        assert_eq!(io_priority("IOPRIO_CLASS_BE", 4), Ok(0x4004));
        assert_eq!(io_priority("IOPRIO_CLASS_IDLE", 7), Ok(0x6007));
    }

    #[test]
    fn wrong_words_and_levels_are_refused() {
        for class in ["IOPRIO_CLASS_NONE", "RT", ""] {
            let error = WordError::unknown("I/O priority class", class);
            assert_eq!(io_priority(class, 0), Err(error));
        }
        for value in [-1, 8, i32::MAX] {
            let error =
                WordError::Range { kind: "I/O priority", value: value.into(), min: 0, max: 7 };
            assert_eq!(io_priority("IOPRIO_CLASS_BE", value), Err(error));
        }
    }
}
