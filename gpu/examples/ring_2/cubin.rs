//! What stands in a CUBIN beside the code.

use object::{Object, ObjectSection};

/// `EIFMT_SVAL`: the attribute has a length and as many bytes.
const WITH_BYTES: u8 = 4;
/// `EIATTR_MAX_THREADS`, three numbers: the block that `__launch_bounds__` promises.
const MAX_THREADS: u8 = 5;

/// Threads that a block of the kernel has at most; none if the kernel does not say.
///
/// # Errors
/// Says what is not understood.
pub fn most_threads(cubin: &[u8], kernel: &str) -> Result<Option<u32>, String> {
    let file = object::File::parse(cubin).map_err(|error| format!("the CUBIN can't be read: {error}"))?;
    let name = format!(".nv.info.{kernel}");
    let section = file.section_by_name(&name).ok_or_else(|| format!("the CUBIN has no section {name}"))?;
    let mut rest = section.data().map_err(|error| format!("{name} can't be read: {error}"))?;
    // Format, attribute, and 16 bits: a value, or the length of what follows.
    while let [format, attribute, low, high, more @ ..] = rest {
        let length = if *format == WITH_BYTES { usize::from(u16::from_le_bytes([*low, *high])) } else { 0 };
        let (bytes, behind) = more.split_at_checked(length).ok_or_else(|| format!("{name} is cut off"))?;
        if *attribute == MAX_THREADS {
            let mut sizes = bytes.chunks_exact(4).map(|bytes| u32::from_le_bytes(bytes.try_into().expect("four")));
            return Ok(Some(sizes.by_ref().product()));
        }
        rest = behind;
    }
    Ok(None)
}
