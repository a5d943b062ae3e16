//! What went wrong, in full: printed, appended to a file, and what `cuGetErrorString` says from then on.

use crate::settings::SETTINGS;
use std::ffi::CString;
use std::io::Write;
use std::sync::Mutex;

/// `CUresult`.
pub type Status = i32;
/// A status other than success, and the sentence that explains it.
pub struct Fault(pub Status, pub String);

static LAST: Mutex<Option<(Status, &'static CString)>> = Mutex::new(None);

/// Reports `fault` and returns its status.
pub(crate) fn report(Fault(status, message): Fault) -> Status {
    let message = format!("emulated CUDA device: {}", message.trim_end());
    eprintln!("{message}");
    if let Ok(Some(path)) = SETTINGS.as_ref().map(|settings| settings.report.as_ref()) {
        let file = std::fs::OpenOptions::new().append(true).create(true).open(path);
        if let Err(error) = file.and_then(|mut file| writeln!(file, "{message}")) {
            eprintln!("emulated CUDA device: {}: {error}", path.display());
        }
    }
    let text = CString::new(message.replace('\0', " ")).unwrap_or_default();
    *LAST.lock().unwrap() = Some((status, Box::leak(Box::new(text))));
    status
}

/// The last message reported with `status`.
pub(crate) fn last(status: Status) -> Option<&'static CString> {
    LAST.lock().unwrap().filter(|(last, _)| *last == status).map(|(_, text)| text)
}
