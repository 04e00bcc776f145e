//! What a compiled filter says of a call, found out by running it.

use super::compile::{
    AND, ARGUMENTS, Filter, JUMP, JUMP_EQUAL, JUMP_GREATER, JUMP_GREATER_OR_EQUAL, LOAD, RET_ALLOW, RET_LOG,
    RETURN,
};
use super::numbers::Architecture;

impl Filter {
    /// Whether a call of this machine's own architecture goes through, given its first arguments.
    pub(crate) fn allows(&self, number: i64, args: [u64; 3]) -> bool {
        let mut all = [0; 6];
        all[..3].copy_from_slice(&args);
        let number = u32::try_from(number).expect("numbers of calls fit in 32 bits");
        matches!(self.answer(Architecture::native().audit(), number, all), RET_ALLOW | RET_LOG)
    }

    /// What the kernel would do with a call.
    pub(super) fn answer(&self, architecture: u32, number: u32, args: [u64; 6]) -> u32 {
        let word = |offset: u32| match offset {
            0 => number,
            4 => architecture,
            _ => {
                let half = (offset - ARGUMENTS) / 4;
                (args[half as usize / 2] >> (32 * (half % 2))) as u32
            }
        };
        let (mut accumulator, mut at) = (0u32, 0usize);
        loop {
            let instruction = self.instructions[at];
            at += 1;
            let value = instruction.value;
            let mut branch = |holds: bool| {
                at += usize::from(if holds { instruction.jump_true } else { instruction.jump_false })
            };
            match instruction.code {
                LOAD => accumulator = word(value),
                AND => accumulator &= value,
                JUMP => at += value as usize,
                JUMP_EQUAL => branch(accumulator == value),
                JUMP_GREATER => branch(accumulator > value),
                JUMP_GREATER_OR_EQUAL => branch(accumulator >= value),
                RETURN => return value,
                other => unreachable!("filters are made of seven instructions, not {other:#x}"),
            }
        }
    }
}
