//! Modules of kernels as the compiler gets them: what the host shares with them, their files, and assertions that both
//! sides agree.
//!
//! Constants, descriptions and the parameters of kernels are written once, on the host. The text that is compiled
//! begins with the constants and the structs, and ends with assertions on the types of the kernels, so that a module
//! whose kernels have other parameters than the host passes does not compile. What is asserted is part of the text, and
//! so of what a cached module is named by.

use std::fmt::Write;

use cudarc::driver::DeviceRepr;

/// One module of kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// Name of the module.
    pub name: &'static str,
    /// Numbers that the host knows as well; its kernels read them by name.
    pub constants: &'static [Constant],
    /// Structs that are passed to its kernels by value.
    pub descriptions: &'static [Struct],
    /// Names and texts of its files, in the order in which the compiler reads them.
    pub files: &'static [(&'static str, &'static str)],
    /// Its kernels.
    pub kernels: &'static [Signature],
}

/// A number that the host and the kernels share, an `int` there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Constant {
    /// Its name.
    pub name: &'static str,
    value: usize,
}

/// A struct that the host and the kernels share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Struct {
    /// Its name, the same on both sides.
    pub name: &'static str,
    /// Its bytes: those of its fields, as it has no padding.
    pub size: usize,
    /// Its fields, in their order.
    pub fields: &'static [Field],
}

/// A field of a [`Struct`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// Its type in C.
    pub c_type: &'static str,
    /// Its bytes.
    pub size: usize,
}

/// Kernels that have the same parameters: the versions of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signature {
    /// Their names: the fast one, then the naive one if there is one.
    pub names: &'static [&'static str],
    /// The fast one with products by tensor cores, if there is one.
    pub tf32: Option<Tensor>,
    /// What they are passed.
    pub parameters: &'static [Parameter],
    /// What the fast one is to be; none if nothing is stated.
    pub expected: Option<Expected>,
}

/// The version of a kernel whose products are made by tensor cores, of factors that are rounded to TF32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tensor {
    /// Its name.
    pub name: &'static str,
    /// What it is to be.
    pub expected: Expected,
}

/// What a kernel is expected to be, stated beside it and held against its machine code (example `ring_2`) and against
/// its accesses on the software device. It is of one launch, with the paper's sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// Threads of a block, as its `__launch_bounds__` say.
    pub threads: usize,
    /// Bytes of dynamic shared memory of a block.
    pub dynamic_shared: usize,
    /// Blocks that a multiprocessor has room for, at least.
    pub blocks: usize,
    /// Percent of the instructions of the loop that does the work that are FFMA or HMMA, at least.
    pub arithmetic: usize,
    /// Loads of global memory in that loop, at most.
    pub global_loads: usize,
    /// Multiplications and additions in that loop that are not fused, at most.
    pub unfused: usize,
    /// Percent of the waves of shared memory that would do, at most, in any line: 100 is free of conflicts.
    pub shared_waves: usize,
    /// Percent of the sectors of global memory that would do, at most, in any line: 100 is coalesced.
    pub global_sectors: usize,
}

/// A parameter of a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Its name.
    pub name: &'static str,
    /// How it is passed.
    pub way: Way,
    /// The type in C of the value, or of what is pointed to.
    pub c_type: &'static str,
}

/// How something is passed to a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// A pointer to what is only read.
    Reads,
    /// A pointer to what is written.
    Writes,
    /// By value.
    Value,
}

/// A type that host and kernels share.
///
/// # Safety
/// The type that is called so in C must have the same size and layout, be valid with all bits, and no byte may be
/// padding.
pub unsafe trait DeviceType: DeviceRepr + Copy {
    /// What it is called in C.
    const C_TYPE: &'static str;
}

macro_rules! numbers {
    ($($number:ident is $c_type:literal,)*) => { $(
        // SAFETY: CUDA supports the host's C types, which these are in Rust ("Fundamental types" in NVIDIA's ABI).
        unsafe impl DeviceType for $number {
            const C_TYPE: &'static str = $c_type;
        }
    )* };
}

numbers! {
    i32 is "int",
    u32 is "unsigned",
    f32 is "float",
    f64 is "double",
}

impl Constant {
    /// A constant.
    ///
    /// # Panics
    /// If the value is not one of an `int`; for a constant, when it is compiled.
    #[must_use]
    pub const fn new(name: &'static str, value: usize) -> Self {
        assert!(value <= i32::MAX as usize, "constants of kernels are of type int");
        Self { name, value }
    }
}

impl Parameter {
    /// A pointer to what the kernel only reads.
    #[must_use]
    pub const fn reads<T: DeviceType>(name: &'static str) -> Self {
        Self { name, way: Way::Reads, c_type: T::C_TYPE }
    }

    /// A pointer to what the kernel writes.
    #[must_use]
    pub const fn writes<T: DeviceType>(name: &'static str) -> Self {
        Self { name, way: Way::Writes, c_type: T::C_TYPE }
    }

    /// A number or a description.
    #[must_use]
    pub const fn value<T: DeviceType>(name: &'static str) -> Self {
        Self { name, way: Way::Value, c_type: T::C_TYPE }
    }

    /// Its type in C.
    fn whole_type(&self) -> String {
        let c_type = self.c_type;
        match self.way {
            Way::Reads => format!("const {c_type}*"),
            Way::Writes => format!("{c_type}*"),
            Way::Value => c_type.to_owned(),
        }
    }
}

impl Signature {
    /// The names of all versions.
    pub fn all_names(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.names.iter().copied().chain(self.tf32.map(|tensor| tensor.name))
    }

    /// The versions of which it is stated what they are to be, with that.
    pub fn expectations(&self) -> impl Iterator<Item = (&'static str, Expected)> + use<> {
        let fast = self.expected.map(|expected| (self.names[0], expected));
        fast.into_iter().chain(self.tf32.map(|tensor| (tensor.name, tensor.expected)))
    }
}

impl Source {
    /// What the compiler reads; its messages name file and line.
    #[must_use]
    pub fn text(&self) -> String {
        let files = self.files.iter().map(|(name, text)| format!("#line 1 \"{name}\"\n{text}\n"));
        self.begin() + &files.collect::<String>() + &self.end()
    }

    /// The versions of its kernels of which it is stated what they are to be.
    pub fn expectations(&self) -> impl Iterator<Item = (&'static str, Expected)> {
        self.kernels.iter().flat_map(Signature::expectations)
    }

    /// The names of its kernels, all versions.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.kernels.iter().flat_map(Signature::all_names)
    }

    /// Constants and descriptions.
    fn begin(&self) -> String {
        let mut text = format!("#line 1 \"{}, from the host\"\n", self.name);
        let mut line = |line: String| writeln!(text, "{line}").expect("writing to a string does not fail");
        for Constant { name, value } in self.constants {
            line(format!("constexpr int {name} = {value};"));
        }
        for Struct { name, size, fields } in self.descriptions {
            let declared = |field: &Field| format!("{} {}; ", field.c_type, field.name);
            line(format!("struct {name} {{ {}}};", fields.iter().map(declared).collect::<String>()));
            // Fields of these sizes fill the struct, here and on the host; so each begins at the same place.
            let sizes = fields.iter().map(|field| format!(" && sizeof({name}::{}) == {}", field.name, field.size));
            let sizes: String = sizes.collect();
            line(format!("static_assert(sizeof({name}) == {size}{sizes}, \"{name} is laid out as on the host\");"));
        }
        text
    }

    /// Assertions on the types of the kernels.
    fn end(&self) -> String {
        let mut text = format!("#line 1 \"{}, from the host\"\n", self.name);
        text += "template <class A, class B> struct SameType { static constexpr bool value = false; };\n";
        text += "template <class A> struct SameType<A, A> { static constexpr bool value = true; };\n";
        for kernel in self.kernels {
            let types: Vec<String> = kernel.parameters.iter().map(Parameter::whole_type).collect();
            let types = types.join(", ");
            for name in kernel.all_names() {
                let same = format!("SameType<decltype(&{name}), void (*)({types})>::value");
                text += &format!("static_assert({same}, \"{name} has the parameters that the host passes\");\n");
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_begins_and_ends_with_what_is_shared() {
        const SOURCE: Source = Source {
            name: "made_up",
            constants: &[Constant::new("TILE", 32)],
            descriptions: &[Struct {
                name: "Scale",
                size: 8,
                fields: &[
                    Field { name: "factor", c_type: f32::C_TYPE, size: 4 },
                    Field { name: "count", c_type: i32::C_TYPE, size: 4 },
                ],
            }],
            files: &[("scale.cu", "// the kernels")],
            kernels: &[Signature {
                names: &["scale", "scale_naive"],
                tf32: None,
                parameters: &[
                    Parameter::reads::<u32>("rows"),
                    Parameter::writes::<f64>("values"),
                    Parameter::value::<i32>("length"),
                ],
                expected: None,
            }],
        };
        let text = "\
#line 1 \"made_up, from the host\"
constexpr int TILE = 32;
struct Scale { float factor; int count; };
static_assert(sizeof(Scale) == 8 && sizeof(Scale::factor) == 4 && sizeof(Scale::count) == 4, \"Scale is laid out as on the host\");
#line 1 \"scale.cu\"
// the kernels
#line 1 \"made_up, from the host\"
template <class A, class B> struct SameType { static constexpr bool value = false; };
template <class A> struct SameType<A, A> { static constexpr bool value = true; };
static_assert(SameType<decltype(&scale), void (*)(const unsigned*, double*, int)>::value, \"scale has the parameters that the host passes\");
static_assert(SameType<decltype(&scale_naive), void (*)(const unsigned*, double*, int)>::value, \"scale_naive has the parameters that the host passes\");
";
        assert_eq!(SOURCE.text(), text);
        assert_eq!(SOURCE.names().collect::<Vec<_>>(), ["scale", "scale_naive"]);
    }

    #[test]
    #[should_panic(expected = "of type int")]
    fn constants_are_ints() {
        let _ = Constant::new("TOO_LARGE", 1 << 31);
    }
}
