//! The calls into MIT's libgssapi_krb5 (RFC 2743, RFC 2744), which is loaded at run time. A machine
//! without Kerberos needs no library, and a build needs no headers.
//!
//! Nothing is released but buffers of the library, because the process ends after one bind.

use std::ffi::{CString, c_char, c_int, c_void};
use std::path::Path;
use std::ptr::null_mut;

use libloading::Library;

/// The library of MIT Kerberos 1.11 and later, which has `gss_acquire_cred_from`.
const LIBRARY: &str = "libgssapi_krb5.so.2";
/// The Kerberos mechanism: 1.2.840.113554.1.2.2 (RFC 1964).
const MECHANISM: &[u8] = b"\x2a\x86\x48\x86\xf7\x12\x01\x02\x02";
/// `GSS_KRB5_NT_PRINCIPAL_NAME`: 1.2.840.113554.1.2.2.1 (RFC 1964).
const PRINCIPAL_NAME: &[u8] = b"\x2a\x86\x48\x86\xf7\x12\x01\x02\x02\x01";
const GSS_C_INITIATE: c_int = 1;
const GSS_C_MECH_CODE: c_int = 2;
const GSS_C_MUTUAL_FLAG: u32 = 2;
const GSS_S_CONTINUE_NEEDED: u32 = 1;
/// The calling errors and routine errors of a major status.
const ERRORS: u32 = 0xffff_0000;
/// `KRB5KDC_ERR_NONE`, the first code of libkrb5's table of errors.
const FIRST_CODE: u32 = 0x96c7_3a00;
/// Most messages of one status.
const MAX_MESSAGES: usize = 8;

/// The C struct `gss_buffer_desc`.
#[repr(C)]
struct Buffer {
    length: usize,
    value: *mut c_void,
}

/// The C struct `gss_OID_desc`.
#[repr(C)]
struct Oid {
    length: u32,
    elements: *mut c_void,
}

/// The C struct `gss_OID_set_desc`.
#[repr(C)]
struct OidSet {
    count: usize,
    elements: *const Oid,
}

/// The C struct `gss_channel_bindings_struct`.
#[repr(C)]
struct ChannelBindings {
    initiator_type: u32,
    initiator: Buffer,
    acceptor_type: u32,
    acceptor: Buffer,
    application: Buffer,
}

/// The C struct `gss_key_value_element_desc`.
#[repr(C)]
struct KeyValue {
    key: *const c_char,
    value: *const c_char,
}

/// The C struct `gss_key_value_set_desc`.
#[repr(C)]
struct KeyValues {
    count: u32,
    elements: *const KeyValue,
}

/// `gss_name_t`, `gss_cred_id_t` and `gss_ctx_id_t` are opaque pointers.
type Handle = *mut c_void;

type ImportName = unsafe extern "C" fn(*mut u32, *const Buffer, *const Oid, *mut Handle) -> u32;
type AcquireCredFrom = unsafe extern "C" fn(
    *mut u32,
    Handle,
    u32,
    *const OidSet,
    c_int,
    *const KeyValues,
    *mut Handle,
    *mut c_void,
    *mut u32,
) -> u32;
type InquireCred =
    unsafe extern "C" fn(*mut u32, Handle, *mut Handle, *mut u32, *mut c_int, *mut c_void) -> u32;
type InitSecContext = unsafe extern "C" fn(
    *mut u32,
    Handle,
    *mut Handle,
    Handle,
    *const Oid,
    u32,
    u32,
    *const ChannelBindings,
    *const Buffer,
    *mut c_void,
    *mut Buffer,
    *mut u32,
    *mut u32,
) -> u32;
type Unwrap =
    unsafe extern "C" fn(*mut u32, Handle, *const Buffer, *mut Buffer, *mut c_int, *mut u32) -> u32;
type Wrap = unsafe extern "C" fn(
    *mut u32,
    Handle,
    c_int,
    u32,
    *const Buffer,
    *mut c_int,
    *mut Buffer,
) -> u32;
type DisplayStatus =
    unsafe extern "C" fn(*mut u32, u32, c_int, *const Oid, *mut u32, *mut Buffer) -> u32;
type ReleaseBuffer = unsafe extern "C" fn(*mut u32, *mut Buffer) -> u32;

/// Failure of the library: the Kerberos error code (RFC 4120, 7.5.9, and further ones of libkrb5),
/// and its text.
#[derive(Debug)]
pub struct Failure {
    pub code: u32,
    pub text: String,
}

/// The result of one step of the exchange.
pub struct Step {
    pub token: Vec<u8>,
    pub is_complete: bool,
    /// Seconds until the ticket ends.
    pub lifetime: u32,
}

/// The loaded functions.
pub struct Gssapi {
    import_name: ImportName,
    acquire_cred_from: AcquireCredFrom,
    inquire_cred: InquireCred,
    init_sec_context: InitSecContext,
    unwrap: Unwrap,
    wrap: Wrap,
    display_status: DisplayStatus,
    release_buffer: ReleaseBuffer,
}

/// The initiator's side of one exchange.
pub struct Initiator<'a> {
    gssapi: &'a Gssapi,
    credential: Handle,
    context: Handle,
    target: Handle,
    binding: Vec<u8>,
}

/// Sets the configuration file of libkrb5.
pub fn configure(file: &Path) {
    // SAFETY: the process has one thread, and the library is not loaded yet.
    unsafe { std::env::set_var("KRB5_CONFIG", file) };
}

impl Gssapi {
    /// Loads the library.
    pub fn load() -> Result<Self, Failure> {
        let failed = |error: libloading::Error| Failure { code: 0, text: error.to_string() };
        // SAFETY: the initialisation of this library has no requirement.
        let library = unsafe { Library::new(LIBRARY) }.map_err(failed)?;
        // The functions are used until the process ends.
        let library: &'static Library = Box::leak(Box::new(library));
        Ok(Self {
            // SAFETY: RFC 2744 gives the function this type.
            import_name: *unsafe { library.get::<ImportName>(b"gss_import_name") }
                .map_err(failed)?,
            // SAFETY: gssapi_ext.h gives the function this type.
            acquire_cred_from: *unsafe { library.get::<AcquireCredFrom>(b"gss_acquire_cred_from") }
                .map_err(failed)?,
            // SAFETY: RFC 2744 gives the function this type.
            inquire_cred: *unsafe { library.get::<InquireCred>(b"gss_inquire_cred") }
                .map_err(failed)?,
            // SAFETY: RFC 2744 gives the function this type.
            init_sec_context: *unsafe { library.get::<InitSecContext>(b"gss_init_sec_context") }
                .map_err(failed)?,
            // SAFETY: RFC 2744 gives the function this type.
            unwrap: *unsafe { library.get::<Unwrap>(b"gss_unwrap") }.map_err(failed)?,
            // SAFETY: RFC 2744 gives the function this type.
            wrap: *unsafe { library.get::<Wrap>(b"gss_wrap") }.map_err(failed)?,
            // SAFETY: RFC 2744 gives the function this type.
            display_status: *unsafe { library.get::<DisplayStatus>(b"gss_display_status") }
                .map_err(failed)?,
            // SAFETY: RFC 2744 gives the function this type.
            release_buffer: *unsafe { library.get::<ReleaseBuffer>(b"gss_release_buffer") }
                .map_err(failed)?,
        })
    }

    /// Gets a ticket-granting ticket by the keytab, and keeps it in memory. Returns it with the
    /// seconds until it ends.
    pub fn log_in(&self, keytab: &str, principal: &str) -> Result<(Handle, u32), Failure> {
        let nul = |_| Failure { code: 0, text: "a name holds a NUL byte".to_owned() };
        let texts = ["client_keytab", keytab, "ccache", "MEMORY:rosterd"]
            .map(|text| CString::new(text).map_err(nul));
        let [key, keytab, cache_key, cache] = texts;
        let (key, keytab, cache_key, cache) = (key?, keytab?, cache_key?, cache?);
        let elements = [
            KeyValue { key: key.as_ptr(), value: keytab.as_ptr() },
            KeyValue { key: cache_key.as_ptr(), value: cache.as_ptr() },
        ];
        let store = KeyValues { count: 2, elements: elements.as_ptr() };
        let name = self.name(principal)?;
        // Without it every mechanism asks the KDC, and each counts as a wrong password.
        let mechanism = oid(MECHANISM);
        let mechanisms = OidSet { count: 1, elements: &raw const mechanism };
        let (mut minor, mut credential) = (0, null_mut());
        // SAFETY: the pointers are valid for the call, and null ones are optional.
        let major = unsafe {
            (self.acquire_cred_from)(
                &raw mut minor,
                name,
                u32::MAX,
                &raw const mechanisms,
                GSS_C_INITIATE,
                &raw const store,
                &raw mut credential,
                null_mut(),
                null_mut(),
            )
        };
        self.check(major, minor)?;
        let mut lifetime = 0;
        // SAFETY: the credential comes from the library, and null pointers are optional.
        let major = unsafe {
            (self.inquire_cred)(
                &raw mut minor,
                credential,
                null_mut(),
                &raw mut lifetime,
                null_mut(),
                null_mut(),
            )
        };
        self.check(major, minor)?;
        Ok((credential, lifetime))
    }

    /// Begins an exchange with the service `target`, bound to a channel (RFC 5056).
    pub fn initiate(
        &self,
        credential: Handle,
        target: &str,
        binding: Vec<u8>,
    ) -> Result<Initiator<'_>, Failure> {
        let target = self.name(target)?;
        Ok(Initiator { gssapi: self, credential, context: null_mut(), target, binding })
    }

    fn name(&self, text: &str) -> Result<Handle, Failure> {
        let (mut minor, mut name) = (0, null_mut());
        let (text, kind) = (buffer(text.as_bytes()), oid(PRINCIPAL_NAME));
        // SAFETY: the pointers are valid for the call, which copies the text.
        let major = unsafe {
            (self.import_name)(&raw mut minor, &raw const text, &raw const kind, &raw mut name)
        };
        self.check(major, minor)?;
        Ok(name)
    }

    fn check(&self, major: u32, minor: u32) -> Result<(), Failure> {
        if major & ERRORS == 0 {
            return Ok(());
        }
        let code = minor.wrapping_sub(FIRST_CODE);
        let code = if code < 256 { code } else { minor };
        let texts = self.messages(minor);
        let text = if texts.is_empty() { format!("GSSAPI error {major:#x}") } else { texts };
        Err(Failure { code, text })
    }

    fn messages(&self, status: u32) -> String {
        let mut texts = Vec::new();
        let (mut more, mechanism) = (0, oid(MECHANISM));
        for _ in 0..MAX_MESSAGES {
            let (mut minor, mut text) = (0, empty());
            // SAFETY: the pointers are valid for the call.
            let major = unsafe {
                (self.display_status)(
                    &raw mut minor,
                    status,
                    GSS_C_MECH_CODE,
                    &raw const mechanism,
                    &raw mut more,
                    &raw mut text,
                )
            };
            if major != 0 {
                break;
            }
            texts.push(String::from_utf8_lossy(&self.take(text)).into_owned());
            if more == 0 {
                break;
            }
        }
        texts.join("; ")
    }

    /// Copies a buffer of the library, and releases it.
    fn take(&self, mut from: Buffer) -> Vec<u8> {
        if from.value.is_null() {
            return Vec::new();
        }
        // SAFETY: the library returned `length` valid bytes, which live until the release below.
        let bytes =
            unsafe { std::slice::from_raw_parts(from.value.cast::<u8>(), from.length) }.to_vec();
        let mut minor = 0;
        // SAFETY: the buffer comes from the library, and is released once.
        unsafe { (self.release_buffer)(&raw mut minor, &raw mut from) };
        bytes
    }
}

impl Initiator<'_> {
    /// Takes the acceptor's token, which is empty at first, and returns the next one.
    pub fn step(&mut self, input: &[u8]) -> Result<Step, Failure> {
        let binding = ChannelBindings {
            initiator_type: 0,
            initiator: empty(),
            acceptor_type: 0,
            acceptor: empty(),
            application: buffer(&self.binding),
        };
        let (mut minor, mut token, mut lifetime) = (0, empty(), 0);
        let (input, mechanism) = (buffer(input), oid(MECHANISM));
        // SAFETY: the handles come from the library, and the other pointers are valid for the call.
        let major = unsafe {
            (self.gssapi.init_sec_context)(
                &raw mut minor,
                self.credential,
                &raw mut self.context,
                self.target,
                &raw const mechanism,
                GSS_C_MUTUAL_FLAG,
                0,
                &raw const binding,
                &raw const input,
                null_mut(),
                &raw mut token,
                null_mut(),
                &raw mut lifetime,
            )
        };
        let token = self.gssapi.take(token);
        self.gssapi.check(major, minor)?;
        Ok(Step { token, is_complete: major & GSS_S_CONTINUE_NEEDED == 0, lifetime })
    }

    /// Checks and opens a message of the acceptor.
    pub fn unwrap(&mut self, message: &[u8]) -> Result<Vec<u8>, Failure> {
        let (mut minor, mut text, message) = (0, empty(), buffer(message));
        // SAFETY: the context is established, and the other pointers are valid for the call.
        let major = unsafe {
            (self.gssapi.unwrap)(
                &raw mut minor,
                self.context,
                &raw const message,
                &raw mut text,
                null_mut(),
                null_mut(),
            )
        };
        let text = self.gssapi.take(text);
        self.gssapi.check(major, minor)?;
        Ok(text)
    }

    /// Signs a message for the acceptor.
    pub fn wrap(&mut self, text: &[u8]) -> Result<Vec<u8>, Failure> {
        let (mut minor, mut message, text) = (0, empty(), buffer(text));
        // SAFETY: the context is established, and the other pointers are valid for the call.
        let major = unsafe {
            (self.gssapi.wrap)(
                &raw mut minor,
                self.context,
                0,
                0,
                &raw const text,
                null_mut(),
                &raw mut message,
            )
        };
        let message = self.gssapi.take(message);
        self.gssapi.check(major, minor)?;
        Ok(message)
    }
}

/// Returns a buffer for the library, which only reads it.
fn buffer(bytes: &[u8]) -> Buffer {
    Buffer { length: bytes.len(), value: bytes.as_ptr().cast_mut().cast() }
}

fn empty() -> Buffer {
    Buffer { length: 0, value: null_mut() }
}

fn oid(elements: &'static [u8]) -> Oid {
    // An OID has fewer than 2³² bytes.
    let length = u32::try_from(elements.len()).unwrap_or_default();
    Oid { length, elements: elements.as_ptr().cast_mut().cast() }
}
