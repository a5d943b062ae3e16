//! What is written once for every kernel: its entry, from which come the struct that a launch is given, the checks of
//! lengths, and the parameters that the module's text is compared with.

use super::Version;
use crate::device::launch::Launch;
use crate::device::source::Signature;
use crate::device::{Device, Kernel, Source};
use crate::error::{Error, Result};

/// The kernels of a module, loaded on a device.
#[derive(Debug)]
pub struct Kernels {
    device: Device,
    source: Source,
    kernels: Vec<Kernel>,
}

impl Kernels {
    /// Loads them. The text may be a damaged one, with which tests see whether damage is found.
    ///
    /// # Errors
    /// As [`Device::module`].
    pub fn load(device: &Device, source: &Source) -> Result<Self> {
        let module = device.module(source)?;
        let kernels = source.names().map(|name| module.kernel(name)).collect::<Result<_>>()?;
        Ok(Self { device: device.clone(), source: *source, kernels })
    }

    /// Name of a graph of these kernels, for messages.
    #[must_use]
    pub fn describe(&self, name: &str) -> String {
        let kernels: Vec<&str> = self.source.kernels.iter().map(|kernel| kernel.names[0]).collect();
        format!("{name} ({}; flags {})", kernels.join(", "), self.device.flags())
    }

    /// The fast version of a kernel.
    ///
    /// # Panics
    /// If it is one of another module.
    pub(crate) fn kernel(&self, signature: &Signature) -> &Kernel {
        self.find(signature.names[0])
    }

    fn find(&self, name: &str) -> &Kernel {
        let kernel = self.kernels.iter().find(|kernel| kernel.name() == name);
        kernel.unwrap_or_else(|| panic!("module {} has no {name}", self.source.name))
    }

    /// A launch of one version of a kernel, which it has, without arguments yet.
    ///
    /// # Panics
    /// If it is one of another module.
    pub(super) fn launch(&self, signature: &Signature, version: Version) -> Launch<'_> {
        self.find(version.name(signature)).on(&self.device)
    }
}

/// A size as a kernel is told it.
pub(super) fn int(what: &'static str, size: usize) -> Result<i32> {
    i32::try_from(size).map_err(|_| Error::TooLarge { what, got: size as u64, most: i32::MAX as u64 })
}

/// Constants of the host for the kernels: those of the same name, or with a value.
macro_rules! constants {
    ($($name:ident $(= $value:expr)?),* $(,)?) => {
        &[$($crate::device::source::Constant::new(stringify!($name), constants!(@ $name $($value)?))),*]
    };
    (@ $name:ident) => { $name };
    (@ $name:ident $value:expr) => { $value };
}

/// A struct that kernels take by value, with the same name and fields on both sides: numbers, or other such structs.
macro_rules! description {
    (
        $(#[$meta:meta])*
        pub struct $name:ident { $($(#[$field_meta:meta])* $field:ident: $type:ty,)* }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq)]
        #[repr(C)]
        pub struct $name { $($(#[$field_meta])* pub $field: $type,)* }

        const _: () = assert!(
            size_of::<$name>() == 0 $(+ size_of::<$type>())*,
            "padding of a description: add a field, or order the fields by size"
        );

        // SAFETY: its fields may be passed to kernels, their order is C's, and between them is no padding.
        unsafe impl cudarc::driver::DeviceRepr for $name {}

        // SAFETY: modules declare it with these fields in this order, and compile only if it has the same layout there.
        unsafe impl $crate::device::DeviceType for $name {
            const C_TYPE: &'static str = stringify!($name);
        }

        impl $name {
            /// As the compiler of the kernels is told.
            pub const STRUCT: $crate::device::source::Struct = $crate::device::source::Struct {
                name: stringify!($name),
                size: size_of::<$name>(),
                fields: &[$($crate::device::source::Field {
                    name: stringify!($field),
                    c_type: <$type as $crate::device::DeviceType>::C_TYPE,
                    size: size_of::<$type>(),
                }),*],
            };
        }
    };
}

/// The entry of a kernel in the table of its module.
///
/// - the struct that is launched, and the names of the fast, of the naive and of the tensor cores' version; what only measures has no naive one, and the
///   last one is there where products are worth it
/// - `given`: its fields
/// - `expects`: what its machine code is to be, see [`Expected`](crate::device::source::Expected); `tf32 expects`: that of the tensor cores' version
/// - `requires`: conditions on them that lengths don't tell; a panic is a bug of the caller
/// - `parameters`: the kernel's, in its order. `reads name: type[values] = buffer` is a `const` pointer to so many values
///   at least, `writes` one that is not const, `value name: type = value` is passed by value
/// - the launch's geometry for a version
///
/// Everything in it may use the names of what is given.
///
/// # Safety
/// What an entry can't know, and its author answers for: that both versions write to no other place than `writes`
/// pointers, and access nothing outside of the lengths that are stated, whatever may be in the buffers.
macro_rules! kernel {
    (
        $(#[$meta:meta])*
        unsafe pub struct $launch:ident<$life:lifetime>: $fast:literal $(, $naive:literal)? $(, tf32 $tf32:literal)?;
        $(expects { $($expectation:ident: $expected:expr,)* })?
        $(tf32 expects { $($tensor_expectation:ident: $tensor_expected:expr,)* })?
        given { $($(#[$given_meta:meta])* $given:ident: $given_type:ty,)* }
        $(requires { $($requirement:tt)* })?
        parameters { $($way:ident $parameter:ident: $type:ty $([$length:expr])? = $argument:expr,)* }
        geometry($version:ident) $geometry:block
    ) => {
        $(#[$meta])*
        #[derive(Debug)]
        pub struct $launch<$life> { $($(#[$given_meta])* pub $given: $given_type,)* }

        impl $launch<'_> {
            /// The kernels and their parameters.
            pub const SIGNATURE: $crate::device::source::Signature = $crate::device::source::Signature {
                names: &[$fast $(, $naive)?],
                tf32: kernel!(@tf32 $($tf32, $($tensor_expectation: $tensor_expected,)*)?),
                parameters: &[
                    $($crate::device::source::Parameter::$way::<$type>(stringify!($parameter)),)*
                ],
                expected: kernel!(@expected $($($expectation: $expected,)*)?),
            };

            /// Submits the launch.
            ///
            /// # Errors
            /// What the device reports, [`Error::TooLarge`](crate::Error::TooLarge) for sizes that it can't take.
            ///
            /// # Panics
            /// If a buffer is too short, or what is given does not belong together.
            pub fn launch(self, kernels: &Kernels, version: Version) -> Result<()> {
                let Self { $($given,)* } = self;
                $($($requirement)*)?
                let version = version.of(&Self::SIGNATURE);
                let $version = version;
                let geometry = $geometry;
                let mut launch = kernels.launch(&Self::SIGNATURE, version);
                $(
                    let argument = $argument;
                    kernel!(@$way launch, stringify!($parameter), $type, argument $(, $length)?);
                )*
                // SAFETY: types and order of the parameters are those of the entry, or the module would not have
                // compiled, and so are those of the arguments, or this would not; that the kernel keeps to what it may
                // write, and to the lengths, which were just checked, is what the entry's author answers for.
                unsafe { launch.submit(geometry) }
            }
        }
    };
    (@tf32) => { None };
    (@tf32 $tf32:literal, $($expectation:ident: $expected:expr,)+) => {
        Some($crate::device::source::Tensor {
            name: $tf32,
            expected: $crate::device::source::Expected { $($expectation: $expected,)+ },
        })
    };
    (@expected) => { None };
    (@expected $($expectation:ident: $expected:expr,)+) => {
        Some($crate::device::source::Expected { $($expectation: $expected,)+ })
    };
    (@reads $launch:ident, $name:expr, $type:ty, $argument:ident, $length:expr) => {
        $launch.reads::<$type>($name, $argument, $length)
    };
    (@writes $launch:ident, $name:expr, $type:ty, $argument:ident, $length:expr) => {
        $launch.writes::<$type>($name, $argument, $length)
    };
    (@value $launch:ident, $name:expr, $type:ty, $argument:ident) => {
        $launch.value::<$type>(&$argument)
    };
}
