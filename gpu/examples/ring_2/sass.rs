//! Machine code as `nvdisasm -c -hex` prints it, and what the loop that does the work is made of.

use std::collections::HashMap;
use std::ops::RangeInclusive;

/// An instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// Its name with what belongs to it, such as `LDS.128`.
    pub name: String,
    /// Cycles before the warp may issue its next one.
    pub stall: u32,
    /// Where it jumps to.
    target: Option<String>,
}

impl Instruction {
    /// The name without what belongs to it.
    pub fn kind(&self) -> &str {
        self.name.split('.').next().unwrap_or(&self.name)
    }

    /// Bytes that a lane loads or stores: the width in its name, 4 without one.
    pub fn bytes(&self) -> u32 {
        let width = |part: &str| match part {
            "128" => Some(16),
            "64" => Some(8),
            "U16" | "S16" | "16" => Some(2),
            "U8" | "S8" | "8" => Some(1),
            _ => None,
        };
        self.name.split('.').find_map(width).unwrap_or(4)
    }
}

/// A kernel's instructions in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Code {
    /// Its name.
    pub kernel: String,
    /// Its instructions.
    pub instructions: Vec<Instruction>,
    /// First and last instructions of its loops.
    loops: Vec<RangeInclusive<usize>>,
}

/// What a loop is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loop {
    /// Instructions.
    pub instructions: u32,
    /// Fused multiply-adds of 32 bits.
    pub ffma: u32,
    /// Products of matrices by tensor cores.
    pub hmma: u32,
    /// Multiplications and additions of 32 bits that are not fused.
    pub unfused: u32,
    /// Loads of shared memory, and the cycles that they keep it busy at most: unless lanes load the same words, a load of
    /// 128 bytes a warp takes one, of 512 bytes four.
    pub lds: u32,
    pub waves: u32,
    /// Loads of global memory.
    pub ldg: u32,
    /// Cycles that one warp takes if nothing is waited for: the stall counts.
    pub stall: u32,
}

impl Loop {
    fn of(instructions: &[Instruction]) -> Self {
        let count = |kinds: &[&str]| instructions.iter().filter(|one| kinds.contains(&one.kind())).count() as u32;
        let lds = instructions.iter().filter(|one| one.kind() == "LDS");
        Self {
            instructions: instructions.len() as u32,
            ffma: count(&["FFMA"]),
            hmma: count(&["HMMA"]),
            unfused: count(&["FMUL", "FADD"]),
            lds: count(&["LDS"]),
            waves: lds.map(|load| load.bytes().div_ceil(4)).sum(),
            ldg: count(&["LDG"]),
            stall: instructions.iter().map(|one| one.stall).sum(),
        }
    }

    /// Share of the instructions that are FFMA or HMMA.
    pub fn share(&self) -> f64 {
        f64::from(self.ffma + self.hmma) / f64::from(self.instructions)
    }

    /// Cycles of arithmetic over cycles of what a sub-core is busiest with, when there are always warps to take turns: issuing,
    /// arithmetic, or its quarter of the loads of shared memory. `ffma`, `hmma`: cycles that one of them takes.
    pub fn bound(&self, ffma: u32, hmma: u32) -> f64 {
        let arithmetic = ffma * self.ffma + hmma * self.hmma;
        f64::from(arithmetic) / f64::from(self.instructions.max(arithmetic).max(4 * self.waves))
    }
}

impl Code {
    /// The loop that does the work: of the innermost ones the one with the most arithmetic, an HMMA counting as much as a
    /// thousand FFMA; if none has any, the longest.
    pub fn work(&self) -> Option<Loop> {
        let innermost = self.loops.iter().filter(|one| {
            let within = |other: &RangeInclusive<usize>| {
                other != *one && other.start() >= one.start() && other.end() <= one.end()
            };
            !self.loops.iter().any(within)
        });
        innermost
            .map(|range| Loop::of(&self.instructions[range.clone()]))
            .max_by_key(|one| (1000 * one.hmma + one.ffma, one.instructions))
    }

    /// Loads and stores of local memory: what does not fit into registers.
    pub fn local(&self) -> usize {
        self.instructions.iter().filter(|one| ["LDL", "STL"].contains(&one.kind())).count()
    }
}

/// Reads what the disassembler printed.
///
/// # Errors
/// Says what is not understood: another version may print something else.
pub fn parse(text: &str) -> Result<Vec<Code>, String> {
    let mut out = Vec::new();
    let mut labels: HashMap<&str, usize> = HashMap::new();
    for line in text.lines() {
        let line = line.trim();
        if let Some(section) = line.strip_prefix(".section") {
            labels.clear();
            let name = section.trim().split(',').next().unwrap_or_default();
            if let Some(kernel) = name.strip_prefix(".text.") {
                out.push(Code { kernel: kernel.to_owned(), instructions: Vec::new(), loops: Vec::new() });
            }
            continue;
        }
        let Some(code) = out.last_mut() else { continue };
        if let Some(label) = line.strip_suffix(':') {
            labels.insert(label, code.instructions.len());
        } else if let Some(instruction) = instruction(line) {
            let at = code.instructions.len();
            // A jump back closes a loop, but not one to itself: that is what the code is filled up with behind its end.
            let start = instruction.target.as_deref().and_then(|target| labels.get(target));
            code.loops.extend(start.filter(|&&start| start < at).map(|&start| start..=at));
            code.instructions.push(instruction);
        } else if let Some(word) = upper_word(line) {
            let last = code.instructions.last_mut().ok_or("half an instruction before the first one")?;
            last.stall = (word >> 41 & 15) as u32;
        }
    }
    match out.iter().find(|code| code.instructions.is_empty()) {
        Some(code) => Err(format!("no instruction of {} is understood", code.kernel)),
        None if out.is_empty() => Err("there is no kernel in it".to_owned()),
        None => Ok(out),
    }
}

/// `/*07a0*/ @P0 BRA `(.L_x_2) ; /* 0x00000010006c0947 */`
fn instruction(line: &str) -> Option<Instruction> {
    let (address, rest) = line.strip_prefix("/*")?.split_once("*/")?;
    if address.len() < 4 || !address.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let (text, _) = rest.split_once(';')?;
    let mut words = text.split_whitespace().skip_while(|word| word.starts_with('@'));
    let name = words.next()?.to_owned();
    let jumps = ["BRA", "BRX", "JMP"].contains(&name.split('.').next().unwrap_or_default());
    let target = jumps.then(|| Some(text.split_once("`(")?.1.split_once(')')?.0.to_owned())).flatten();
    Some(Instruction { name, stall: 0, target })
}

/// `/* 0x000ff00000000800 */`
fn upper_word(line: &str) -> Option<u64> {
    u64::from_str_radix(line.strip_prefix("/* 0x")?.strip_suffix("*/")?.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As version 13.5 prints it; the code is made up.
    const TEXT: &str = "
	.headerflags	@\"EF_CUDA_SM90\"
//--------------------- .text.sums --------------------------
	.section	.text.sums,\"ax\",@progbits
        .size           sums,(.L_x_3 - sums)
sums:
.text.sums:
        /*0000*/                   LDC R1, c[0x0][0x28] ;          /* 0x00000a00ff017b82 */
                                                                   /* 0x000ff00000000800 */
.L_x_0:
        /*0010*/                   STL [R1], R2 ;                  /* 0x0000000000000000 */
                                                                   /* 0x000fe20000000000 */
.L_x_1:
        /*0020*/                   LDS.128 R4, [R3] ;              /* 0x0000000000000000 */
                                                                   /* 0x000e220000000000 */
        /*0030*/                   LDG.E.64 R8, desc[UR4][R2.64] ; /* 0x0000000000000000 */
                                                                   /* 0x000fe40000000000 */
        /*0040*/                   FFMA R1, R2, R3, R1 ;           /* 0x0000000000000000 */
                                                                   /* 0x000fc80000000000 */
        /*0050*/                   FMUL R1, R2, R3 ;               /* 0x0000000000000000 */
                                                                   /* 0x000fe20000000000 */
        /*0060*/              @!P0 BRA `(.L_x_1) ;                 /* 0x0000000000000000 */
                                                                   /* 0x000fea0000000000 */
        /*0070*/               @P1 BRA `(.L_x_0) ;                 /* 0x0000000000000000 */
                                                                   /* 0x000fea0000000000 */
        /*0080*/                   EXIT ;                          /* 0x0000000000000000 */
                                                                   /* 0x000fea0000000000 */
.L_x_2:
        /*0090*/                   BRA `(.L_x_2);                  /* 0x0000000000000000 */
                                                                   /* 0x000fc0000383ffff */
.L_x_3:
";

    #[test]
    fn the_innermost_loop_is_found() {
        let code = parse(TEXT).unwrap();
        assert_eq!((code.len(), code[0].kernel.as_str(), code[0].instructions.len()), (1, "sums", 10));
        assert_eq!(code[0].local(), 1);
        let work = code[0].work().unwrap();
        let stall = [1, 2, 4, 1, 5].iter().sum();
        let expected = Loop { instructions: 5, ffma: 1, hmma: 0, unfused: 1, lds: 1, waves: 4, ldg: 1, stall };
        assert_eq!(work, expected);
        assert_eq!((work.share(), work.bound(1, 8), work.bound(2, 8)), (0.2, 1.0 / 16.0, 2.0 / 16.0));
    }

    #[test]
    fn widths_are_in_the_names() {
        for (name, bytes) in [("LDS", 4), ("LDS.64", 8), ("LDG.E.128.CONSTANT", 16), ("LDS.U16", 2), ("LDG.E.U8", 1)] {
            assert_eq!(Instruction { name: name.to_owned(), stall: 0, target: None }.bytes(), bytes, "{name}");
        }
    }

    #[test]
    fn what_is_not_understood_is_said() {
        assert!(parse("").unwrap_err().contains("no kernel"));
        let without = "\t.section\t.text.sums,\"ax\",@progbits\nsums:\n";
        assert_eq!(parse(without).unwrap_err(), "no instruction of sums is understood");
    }
}
