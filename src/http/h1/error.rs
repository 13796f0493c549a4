//! Why a message head is refused, by what was found in it.

use memchr::{memchr, memchr_iter};

/// Why a head is refused. Variants say what the peer sent, so that refusals can be counted by cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.label())]
pub enum ParseError {
    /// The head is longer than allowed.
    TooManyBytes,
    /// The request line alone is longer than a head may be.
    TargetTooLong,
    /// More fields than allowed.
    TooManyFields,
    /// More options in `Connection` than any client has a use for.
    TooManyOptions,
    /// A line that ends in LF without CR.
    BareLineFeed,
    /// CR that does not end a line.
    BareCarriageReturn,
    /// A field that continues on the next line (RFC 9112, 5.2).
    ObsFold,
    /// A NUL byte.
    Nul,
    /// White space between a field name and its colon (RFC 9112, 5.1).
    SpaceBeforeColon,
    BadMethod,
    BadTarget,
    /// Not `HTTP/` and two digits.
    MalformedVersion,
    /// A version other than 1.0 and 1.1.
    BadVersion,
    BadStatus,
    BadFieldName,
    /// A field name with `_`, where those are refused.
    Underscore,
    BadFieldValue,
    MissingHost,
    RepeatedHost,
    MalformedHost,
    /// Both `Content-Length` and `Transfer-Encoding`.
    BothLengths,
    /// More than one `Content-Length`, also when they agree.
    RepeatedLength,
    /// A `Content-Length` that is not one decimal number below 2^64.
    MalformedLength,
    UnknownTransferCoding,
    RepeatedTransferCoding,
    /// `chunked` is among the codings but not as the only one.
    MisplacedTransferCoding,
    TransferCodingInHttp10,
    /// CONNECT has no body: what follows it is the tunnel's (RFC 9110, 9.3.6).
    LengthInConnect,
    /// An extended CONNECT to something that is no protocol, or to HTTP itself.
    BadProtocol,
}

/// Names every cause once: as a metric and the log name it when a client is at fault, and with `response_` before it when
/// an endpoint is. Both lists are closed, so that a counter can be set aside for each of their words.
macro_rules! labels {
    ($error:ty { $($cause:pat => $label:literal,)* }) => {
        impl $error {
            /// Every label of a fault in a request.
            pub const LABELS: &'static [&'static str] = &[$($label),*];
            /// Every label of a fault in a response.
            pub const RESPONSE_LABELS: &'static [&'static str] = &[$(concat!("response_", $label)),*];

            /// The cause of a fault in a request as a metric and the log name it.
            pub const fn label(self) -> &'static str {
                match self { $($cause => $label,)* }
            }

            /// The cause of a fault in a response.
            pub const fn response_label(self) -> &'static str {
                match self { $($cause => concat!("response_", $label),)* }
            }
        }
    };
}
pub(super) use labels;

labels!(ParseError {
    Self::TooManyBytes => "too_many_bytes",
    Self::TargetTooLong => "target_too_long",
    Self::TooManyFields => "too_many_fields",
    Self::TooManyOptions => "too_many_options",
    Self::BareLineFeed => "bare_line_feed",
    Self::BareCarriageReturn => "bare_carriage_return",
    Self::ObsFold => "obs_fold",
    Self::Nul => "nul",
    Self::SpaceBeforeColon => "space_before_colon",
    Self::BadMethod => "bad_method",
    Self::BadTarget => "bad_target",
    Self::MalformedVersion => "malformed_version",
    Self::BadVersion => "bad_version",
    Self::BadStatus => "bad_status",
    Self::BadFieldName => "bad_field_name",
    Self::Underscore => "underscore_in_field_name",
    Self::BadFieldValue => "bad_field_value",
    Self::MissingHost => "missing_host",
    Self::RepeatedHost => "repeated_host",
    Self::MalformedHost => "malformed_host",
    Self::BothLengths => "both_lengths",
    Self::RepeatedLength => "repeated_length",
    Self::MalformedLength => "malformed_length",
    Self::UnknownTransferCoding => "unknown_transfer_coding",
    Self::RepeatedTransferCoding => "repeated_transfer_coding",
    Self::MisplacedTransferCoding => "misplaced_transfer_coding",
    Self::TransferCodingInHttp10 => "transfer_coding_in_http10",
    Self::LengthInConnect => "length_in_connect",
    Self::BadProtocol => "bad_protocol",
});

impl ParseError {
    /// The status that answers a request refused for this cause.
    pub fn status(self) -> u16 {
        match self {
            Self::TooManyBytes | Self::TooManyFields | Self::TooManyOptions => 431,
            Self::TargetTooLong => 414,
            Self::BadVersion => 505,
            Self::BareLineFeed
            | Self::BareCarriageReturn
            | Self::ObsFold
            | Self::Nul
            | Self::SpaceBeforeColon
            | Self::BadMethod
            | Self::BadTarget
            | Self::MalformedVersion
            | Self::BadStatus
            | Self::BadFieldName
            | Self::Underscore
            | Self::BadFieldValue
            | Self::MissingHost
            | Self::RepeatedHost
            | Self::MalformedHost
            | Self::BothLengths
            | Self::RepeatedLength
            | Self::MalformedLength
            | Self::UnknownTransferCoding
            | Self::RepeatedTransferCoding
            | Self::BadProtocol
            | Self::MisplacedTransferCoding
            | Self::TransferCodingInHttp10
            | Self::LengthInConnect => 400,
        }
    }

    /// Names the cause behind an error of httparse, which tells only where it stopped. Signs of an attempt to have
    /// two readers see different messages are named first, wherever in the head they are. Off the hot path.
    pub(super) fn of(error: httparse::Error, head: &[u8]) -> Self {
        if memchr(0, head).is_some() {
            return Self::Nul;
        }
        if memchr_iter(b'\r', head).any(|at| head.get(at + 1).is_some_and(|next| *next != b'\n')) {
            return Self::BareCarriageReturn;
        }
        if memchr_iter(b'\n', head).any(|at| matches!(head.get(at + 1), Some(b' ' | b'\t'))) {
            return Self::ObsFold;
        }
        match error {
            httparse::Error::HeaderName if has_space_before_colon(head) => Self::SpaceBeforeColon,
            httparse::Error::HeaderName => Self::BadFieldName,
            httparse::Error::HeaderValue => Self::BadFieldValue,
            // Bare CR is named above: what is left is a request line that goes on after the version.
            httparse::Error::NewLine => Self::MalformedVersion,
            httparse::Error::Status => Self::BadStatus,
            httparse::Error::Token if has_method(head) => Self::BadTarget,
            httparse::Error::Token => Self::BadMethod,
            httparse::Error::TooManyHeaders => Self::TooManyFields,
            httparse::Error::Version if has_other_version(head) => Self::BadVersion,
            httparse::Error::Version => Self::MalformedVersion,
        }
    }
}

/// Whether some line has white space right before its first colon.
fn has_space_before_colon(head: &[u8]) -> bool {
    head.split(|byte| *byte == b'\n').any(|line| {
        memchr(b':', line)
            .is_some_and(|colon| line[..colon].ends_with(b" ") || line[..colon].ends_with(b"\t"))
    })
}

/// Whether the head starts with a token and a space.
fn has_method(head: &[u8]) -> bool {
    memchr(b' ', head).is_some_and(|space| ::http::Method::from_bytes(&head[..space]).is_ok())
}

/// Whether a request line ends, or a status line starts, with a version of the right form (RFC 9112, 2.3) that is not
/// ours, or with as much of one as has arrived.
fn has_other_version(head: &[u8]) -> bool {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let is_version = |word: Option<&[u8]>| {
        let Some([major, rest @ ..]) = word.and_then(|word| word.strip_prefix(b"HTTP/")) else {
            return false;
        };
        let has_minor = match rest {
            // Ours is in its place, and something else is wrong.
            [b'.', b'0' | b'1'] if *major == b'1' => false,
            [] | [b'.'] => true,
            [b'.', minor] => minor.is_ascii_digit(),
            _ => false,
        };
        major.is_ascii_digit() && has_minor
    };
    is_version(line.split(|byte| *byte == b' ').next())
        || is_version(line.rsplit(|byte| *byte == b' ').next())
}
