//! Every limit of the program, by name. The manual pages quote these numbers and a test compares them.
//!
//! Sizes that memory must answer for are upper bounds: `sys::memory` scales them down on small machines.

use std::time::Duration;

// ── WebSocket ──────────────────────────────────────────────────────────────────────────────────────────
/// Largest frame before `connect` succeeded; one byte more closes 1009 (protocol 1).
pub const PREAUTH_FRAME_BYTES: usize = 64 * 1024;
/// Largest incoming message after hello-ok, advertised as `policy.maxPayload`.
pub const MAX_PAYLOAD_BYTES: usize = 25 * 1024 * 1024;
/// Unsent bytes of one client before it counts as slow, advertised as `policy.maxBufferedBytes`.
pub const MAX_BUFFERED_BYTES: usize = 50 * 1024 * 1024;
/// Unsent bytes of all clients together: this fraction of memory (1/8).
pub const TOTAL_BUFFERED_MEMORY_FRACTION: u64 = 8;
/// The reader takes no further request while more than this of answers waits for its client.
pub const UNSENT_ANSWERS_BYTES: usize = 1024 * 1024;
/// No progress on a blocked write for this long ends the client.
pub const WRITE_STALL: Duration = Duration::from_secs(30);
/// From the end of the upgrade to a successful `connect`.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(15);
/// Interval of the `tick` event, advertised as `policy.tickIntervalMs`.
pub const TICK_INTERVAL: Duration = Duration::from_secs(30);
/// A client from which nothing was read for this long is pinged; two more such periods and it is dead.
pub const PING_AFTER: Duration = Duration::from_secs(30);
/// Periods of silence after which a client is dead (the first one sends the ping).
pub const DEAD_AFTER_PERIODS: u32 = 3;
/// Fragments of one message; the next one closes 1008.
pub const MAX_FRAGMENTS: u32 = 16_384;
/// A frame whose first byte has been read must be complete within this time, plus `FRAME_BYTES_PER_SEC`.
pub const FRAME_DEADLINE: Duration = Duration::from_secs(30);
/// Slowest acceptable sender of a large frame.
pub const FRAME_BYTES_PER_SEC: u64 = 64 * 1024;
/// Messages announced larger than this draw on the budget for all inbound messages.
pub const BIG_MESSAGE_BYTES: usize = 256 * 1024;
/// Inbound messages above `BIG_MESSAGE_BYTES`, all connections together: this fraction of memory (1/8).
pub const INBOUND_MEMORY_FRACTION: u64 = 8;
/// Values of one JSON message (a number in a list takes two bytes there and seventy as a tree): before `connect`
/// succeeded, and after.
pub const PREAUTH_VALUES: usize = 4096;
pub const MESSAGE_VALUES: usize = 50_000;
/// A writer thread without work ends after this.
pub const WRITER_IDLE: Duration = Duration::from_secs(30);
/// Unread input discarded after a close frame or a refusing answer, in bytes and time.
pub const LINGER_BYTES: usize = 64 * 1024;
pub const LINGER_TIME: Duration = Duration::from_secs(1);
/// Behind a body that was refused each `LINGER_BYTES` buy another `LINGER_TIME`, up to these: many clients only look
/// for the refusal when they have sent all of it.
pub const LINGER_UPLOAD_BYTES: usize = 32 * 1024 * 1024;
pub const LINGER_UPLOAD_TIME: Duration = Duration::from_secs(10);
/// Close reasons are cut here, on a UTF-8 boundary.
pub const CLOSE_REASON_BYTES: usize = 120;
/// Consecutive `unauthorized role` answers before the connection is closed with the next one.
pub const UNAUTHORIZED_ROLE_REPEATS: u32 = 10;
/// Errors of one validation; keys that they name are cut like method names.
pub const VALIDATION_ERRORS: usize = 32;
/// Method names in error texts are cut here.
pub const METHOD_NAME_CHARS: usize = 200;

// ── Connections ────────────────────────────────────────────────────────────────────────────────────────
pub const MAX_HTTP_CONNECTIONS: usize = 256;
pub const MAX_WEBSOCKETS: usize = 2048;
/// Sockets that have not finished the handshake: in total, and per address (loopback: only the total).
pub const MAX_UNAUTHENTICATED: usize = 512;
pub const MAX_UNAUTHENTICATED_PER_ADDRESS: usize = 64;
/// Descriptors kept back for files, models and the rest when caps are derived from the descriptor limit.
pub const RESERVED_DESCRIPTORS: u64 = 64;
/// Pause after accept failed for want of a resource; logged once per `ACCEPT_LOG_EVERY`.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
pub const ACCEPT_LOG_EVERY: Duration = Duration::from_secs(10);
/// An idle connection thread waits this long for the next socket before it ends. Until then it keeps freed memory for
/// itself that nobody else can use: 80 kB and more each.
pub const POOL_IDLE: Duration = Duration::from_secs(2);
/// After so long without a newcomer the memory of those who have come and gone is given back.
pub const CROWD_GONE: Duration = Duration::from_secs(3);
/// Stacks of connection and writer threads in release builds; debug builds take four times as much.
pub const CONNECTION_STACK: usize = 256 * 1024;
pub const WRITER_STACK: usize = 128 * 1024;
/// Stack of the threads that run handlers with files.
pub const POOL_STACK: usize = 512 * 1024;
/// Bind attempts on EADDRINUSE: retries and their distance.
pub const BIND_RETRIES: u32 = 4;
pub const BIND_RETRY_PAUSE: Duration = Duration::from_millis(500);

// ── HTTP ───────────────────────────────────────────────────────────────────────────────────────────────
pub const HTTP_HEAD_BYTES: usize = 16 * 1024;
pub const HTTP_HEADERS: usize = 100;
/// A fresh connection's first byte, and from the first byte of a request to the end of its head.
pub const HTTP_FIRST_BYTE: Duration = Duration::from_secs(10);
pub const HTTP_HEAD_DEADLINE: Duration = Duration::from_secs(10);
pub const HTTP_KEEPALIVE: Duration = Duration::from_secs(5);
pub const HTTP_BODY_STALL: Duration = Duration::from_secs(30);
pub const HTTP_BODY_DEADLINE: Duration = Duration::from_secs(300);
/// Unsent bytes of an answer that a client reads too slowly; with more its connection and its run end.
pub const HTTP_UNSENT_BYTES: usize = 1024 * 1024;
/// Between signs of life while an answer is silent.
pub const SSE_KEEPALIVE: Duration = Duration::from_secs(15);
/// Default of `gateway.http.endpoints.*.maxBodyBytes`.
pub const API_BODY_BYTES: usize = 20 * 1024 * 1024;
/// Images of one request of the HTTP APIs: their number, one of them, all of them.
pub const API_IMAGE_PARTS: usize = 8;
pub const API_IMAGE_BYTES: usize = 10 * 1024 * 1024;
pub const API_IMAGES_BYTES: usize = 20 * 1024 * 1024;
/// `/v1/embeddings`: the provider's whole answer, and how long it may take.
pub const EMBEDDINGS_BYTES: u64 = 16 * 1024 * 1024;
pub const EMBEDDINGS_TIME: Duration = Duration::from_secs(60);

/// Files of a request to `/v1/responses`: bytes of one, characters of it that are told; addresses in a request.
pub const API_FILE_BYTES: usize = 5 * 1024 * 1024;
pub const API_FILE_CHARS: usize = 200_000;
pub const API_URL_PARTS: usize = 8;
pub const API_URL_REDIRECTS: u32 = 3;
pub const API_URL_TIME: Duration = Duration::from_secs(10);
/// All addresses of one request together.
pub const FETCHES_OF_REQUEST: Duration = Duration::from_secs(30);
/// Responses that `previous_response_id` may name, and for how long.
pub const RESPONSES_ENTRIES: usize = 1000;
pub const RESPONSES_TTL: Duration = Duration::from_secs(24 * 60 * 60);
/// Conversations behind them that are kept nowhere else; less on machines with less than 512 MiB.
pub const RESPONSES_BYTES: usize = 8 * 1024 * 1024;
pub const RESPONSES_MEMORY_FRACTION: u64 = 64;
/// A request and its answer keep their pictures up to this size, a conversation its last turns.
pub const RESPONSES_TURN_BYTES: usize = 2 * 1024 * 1024;
pub const RESPONSES_TURNS: usize = 500;

// ── Static files and the canvas ─────────────────────────────────────────────────────────────────────────
/// A longer file is sent in pieces of `FILE_PIECE_BYTES` and never held.
pub const FILE_IN_MEMORY_BYTES: u64 = 64 * 1024;
pub const FILE_PIECE_BYTES: usize = 64 * 1024;
/// Files of these sizes are compressed, once, and kept; all together the least recently used go first.
pub const COMPRESSED_FROM_BYTES: u64 = 512;
pub const COMPRESSED_FILE_BYTES: u64 = 512 * 1024;
pub const COMPRESSED_TOTAL_BYTES: usize = 2 * 1024 * 1024;
/// A longer page is sent without the script.
pub const CANVAS_PAGE_BYTES: u64 = 2 * 1024 * 1024;
/// How long a capability is good for after it was last used.
pub const CAPABILITY_TTL: Duration = Duration::from_secs(600);
/// Pages that are told of changes, how often somebody looks, and how much he looks at.
pub const LIVE_RELOAD_SOCKETS: usize = 64;
pub const LIVE_RELOAD_LOOK: Duration = Duration::from_secs(1);
pub const LIVE_RELOAD_DEBOUNCE: Duration = Duration::from_millis(75);
pub const LIVE_RELOAD_FILES: usize = 10_000;
pub const LIVE_RELOAD_DEPTH: usize = 32;
/// What a page may say; nobody listens.
pub const LIVE_RELOAD_MESSAGE_BYTES: u64 = 4096;

// ── Hooks ──────────────────────────────────────────────────────────────────────────────────────────────
/// Default of `hooks.maxBodyBytes`.
pub const HOOK_BODY_BYTES: usize = 256 * 1024;
/// What a template may grow to; the rest is cut off.
pub const HOOK_TEXT_BYTES: usize = 512 * 1024;
/// A text for the main session.
pub const HOOK_EVENT_BYTES: usize = 16 * 1024;
/// Characters of a turn's answer that the main session is told.
pub const HOOK_SUMMARY_CHARS: usize = 2000;
/// Characters of the name of whoever calls.
pub const HOOK_NAME_CHARS: usize = 120;
/// Wrong tokens of one address within the window lock it for as long.
pub const HOOK_AUTH_FAILURES: u32 = 20;
pub const HOOK_AUTH_WINDOW: Duration = Duration::from_secs(60);
/// The same request again gets the same answer: for so long, and so many of them.
pub const HOOK_REPLAY_TTL: Duration = Duration::from_secs(300);
pub const HOOK_REPLAYS: usize = 1000;
pub const HOOK_KEY_CHARS: usize = 256;
/// A transform: its time, its output, and how many at once.
pub const HOOK_TRANSFORM_TIME: Duration = Duration::from_secs(10);
pub const HOOK_TRANSFORM_OUTPUT: u64 = 1024 * 1024;
pub const HOOK_TRANSFORMS: usize = 4;
/// Turns that wait before hooks are asked to come back later.
pub const HOOK_RUNS_WAITING: usize = 64;

// ── Owners ─────────────────────────────────────────────────────────────────────────────────────────────
/// A bounded channel is as large as its bound from the start: 4096 events were 400 kB that nobody used.
pub const HUB_QUEUE: usize = 512;
/// Messages the hub takes before it sends one merged `presence`, `health` or text delta.
pub const HUB_BATCH: usize = 256;
pub const STORE_QUEUE: usize = 256;
pub const STORE_QUEUE_BYTES: usize = 8 * 1024 * 1024;
pub const POOL_JOBS: usize = 64;
pub const POOL_THREADS: usize = 4;
pub const RUNS_QUEUE: usize = 1024;
pub const QUEUED_RUNS_PER_SESSION: usize = 20;
/// Counters and other `soon` files: at most one write per file in this time.
pub const SOON_WRITE: Duration = Duration::from_secs(30);
/// A large `sessions.json` is rewritten no faster than this on average; its journal carries the changes meanwhile.
pub const STORE_REWRITE_BYTES_PER_SEC: u64 = 16 * 1024;
/// State files that are read whole (devices, identity); larger ones count as damaged.
pub const STATE_FILE_BYTES: u64 = 8 * 1024 * 1024;
/// One entry of `sessions.json` without the reference's two fat fields; a longer one is kept in the file but not shown.
pub const SESSION_ENTRY_BYTES: usize = 256 * 1024;
/// One line of a transcript; a longer one is skipped.
pub const TRANSCRIPT_LINE_BYTES: usize = 32 * 1024 * 1024;
pub const MAINTENANCE: Duration = Duration::from_secs(60);

// ── Presence ───────────────────────────────────────────────────────────────────────────────────────────
pub const PRESENCE_TTL: Duration = Duration::from_secs(300);
pub const PRESENCE_ENTRIES: usize = 200;
/// Texts that clients bring into presence: a system event's text, any other field, items of a list.
pub const PRESENCE_TEXT_BYTES: usize = 4096;
pub const PRESENCE_FIELD_CHARS: usize = 256;
pub const PRESENCE_LIST_ITEMS: usize = 32;
pub const SYSTEM_EVENTS_PER_SESSION: usize = 20;

// ── Devices and auth ───────────────────────────────────────────────────────────────────────────────────
pub const SIGNATURE_SKEW: Duration = Duration::from_secs(120);
pub const PAIRING_REQUEST_TTL: Duration = Duration::from_secs(300);
pub const PENDING_PAIRINGS: usize = 200;
/// Devices in `paired.json`; further ones are refused until some are removed.
pub const PAIRED_DEVICES: usize = 2000;
/// How long a setup code is good for, how many there may be at once (the oldest goes first), and how long a change of
/// their file waits for another process that is at it.
pub const SETUP_CODE_TTL: Duration = Duration::from_secs(600);
pub const SETUP_CODES: usize = 32;
pub const SETUP_CODE_LOCK: Duration = Duration::from_secs(2);
pub const RATE_MAX_ATTEMPTS: u32 = 10;
pub const RATE_WINDOW: Duration = Duration::from_secs(60);
pub const RATE_LOCKOUT: Duration = Duration::from_secs(300);
/// Addresses the limiter remembers; the least recently used goes first.
pub const RATE_ENTRIES: usize = 4096;
/// Control-plane calls (`config.apply`, `config.patch`, `update.run`) per window.
pub const CONTROL_PLANE_CALLS: u32 = 3;
pub const CONTROL_PLANE_WINDOW: Duration = Duration::from_secs(60);

/// Restarts that a request asks for: the delay it did not name, the longest it may, and the pause after the last one.
pub const RESTART_DELAY: Duration = Duration::from_secs(2);
pub const RESTART_DELAY_MAX: Duration = Duration::from_secs(60);
pub const RESTART_COOLDOWN: Duration = Duration::from_secs(30);

// ── Runs ───────────────────────────────────────────────────────────────────────────────────────────────
pub const LANE_MAIN: usize = 4;
pub const DEDUPE_TTL: Duration = Duration::from_secs(300);
pub const DEDUPE_ENTRIES: usize = 1000;
/// Answers kept for repeated requests, all together; beyond it the oldest are forgotten first.
pub const DEDUPE_BYTES: usize = 8 * 1024 * 1024;
pub const IDEMPOTENCY_KEY_CHARS: usize = 512;
/// Answers of the HTTP APIs that are kept for a repetition, in number and all together.
pub const REPLAY_ENTRIES: usize = 256;
pub const REPLAY_BYTES: usize = 1024 * 1024;
/// A turn that waits longer for its lane is worth a warning.
pub const LANE_WAIT_WARNING: Duration = Duration::from_secs(2);
pub const RUN_RESULT_TTL: Duration = Duration::from_secs(600);
pub const RUN_TIMEOUT: Duration = Duration::from_secs(600);
pub const CHAT_DELTA_EVERY: Duration = Duration::from_millis(150);
/// Above this much text, assistant events of one run come no closer than `ASSISTANT_EVENT_EVERY`.
pub const ASSISTANT_DENSE_BYTES: usize = 16 * 1024;
pub const ASSISTANT_EVENT_EVERY: Duration = Duration::from_millis(50);
/// Threads of aborted runs that have not ended yet (a name look-up cannot be interrupted).
pub const LEFTOVER_RUNS: usize = 16;
pub const ATTACHMENT_BYTES: usize = 5 * 1024 * 1024;
/// What the models of one run say, all their answers together: text, thoughts, calls. A run holds several copies of it,
/// and every frame with it stays below `MAX_PAYLOAD_BYTES` however much of it JSON has to escape.
pub const RUN_TEXT_BYTES: usize = 4 * 1024 * 1024;
/// On machines with less than 1 GiB it is this fraction of memory (1/256).
pub const RUN_TEXT_MEMORY_FRACTION: u64 = 256;
/// Tool rounds of one turn before it ends with an error.
pub const TOOL_ROUNDS: usize = 64;

// ── Models ─────────────────────────────────────────────────────────────────────────────────────────────
pub const MODEL_CONNECT: Duration = Duration::from_secs(10);
pub const MODEL_FIRST_BYTE: Duration = Duration::from_secs(120);
pub const MODEL_PER_READ: Duration = Duration::from_secs(120);
/// Pause before the first retry; doubles with each one.
pub const MODEL_RETRY_PAUSE: Duration = Duration::from_millis(500);
/// A provider whose `Retry-After` is longer is not asked again in this call.
pub const MODEL_RETRY_AFTER: Duration = Duration::from_secs(30);
/// Requests to providers for one turn's model call, retries and fallbacks together.
pub const MODEL_REQUESTS: u32 = 4;
pub const MODEL_ERROR_BODY: u64 = 64 * 1024;
pub const MODEL_LINE_BYTES: usize = 4 * 1024 * 1024;
pub const MODEL_BUFFER: usize = 16 * 1024;
pub const CONTEXT_TOKENS: u64 = 200_000;
pub const OUTPUT_TOKENS: u64 = 8192;
pub const OUTPUT_TOKENS_SENT: u64 = 32_000;

// ── Tools ──────────────────────────────────────────────────────────────────────────────────────────────
/// Addresses of the web that are fetched at the same time, for whomever.
pub const FETCHES: usize = 8;
/// Bytes of one page; what is behind them is not read.
pub const WEB_FETCH_BYTES: usize = 2_000_000;
/// Defaults of `tools.web.fetch`, and the least that a caller may ask for.
pub const WEB_FETCH_CHARS: usize = 50_000;
pub const WEB_FETCH_CHARS_LEAST: usize = 100;
pub const WEB_FETCH_TIMEOUT: Duration = Duration::from_secs(30);
pub const WEB_FETCH_REDIRECTS: u32 = 3;
pub const WEB_FETCH_TTL: Duration = Duration::from_secs(900);
/// Pages that are kept for a repeated question.
pub const WEB_FETCH_PAGES: usize = 32;
pub const WEB_FETCH_PAGES_BYTES: usize = 2 * 1024 * 1024;
/// Largest request for a tool.
pub const TOOL_BODY_BYTES: usize = 2 * 1024 * 1024;
/// What `sessions_history` gives at most, and of one text in it.
pub const TOOL_HISTORY_BYTES: usize = 80 * 1024;
pub const TOOL_HISTORY_TEXT_CHARS: usize = 4000;
/// Rows of `sessions_list`.
pub const TOOL_SESSIONS: usize = 200;

// ── Workspace ──────────────────────────────────────────────────────────────────────────────────────────
/// Characters of one workspace file and of all of them in a prompt (agent 4); with less room the rest is left out.
pub const BOOTSTRAP_FILE_CHARS: usize = 20_000;
pub const BOOTSTRAP_TOTAL_CHARS: usize = 150_000;
pub const BOOTSTRAP_MIN_CHARS: usize = 64;
/// Bytes of a workspace file that are read at all.
pub const BOOTSTRAP_READ_BYTES: u64 = 2 * 1024 * 1024;
/// Messages and bytes of a transcript that are read for a model.
pub const CONTEXT_MESSAGES: usize = 2000;
pub const CONTEXT_BYTES: usize = 8 * 1024 * 1024;

// ── Chat history ───────────────────────────────────────────────────────────────────────────────────────
pub const HISTORY_TEXT_CHARS: usize = 12_000;
pub const HISTORY_MESSAGE_BYTES: usize = 128 * 1024;
pub const HISTORY_TOTAL_BYTES: usize = 6 * 1024 * 1024;

// ── Log ────────────────────────────────────────────────────────────────────────────────────────────────
pub const LOG_QUEUE: usize = 1024;
pub const LOG_FILE_BYTES: u64 = 8 * 1024 * 1024;
/// The file is no larger than this fraction of memory (1/64): on small machines its directory is memory.
pub const LOG_FILE_MEMORY_FRACTION: u64 = 64;
/// Bytes of lines that wait for the log thread; beyond them lines are dropped and counted.
pub const LOG_QUEUE_BYTES: usize = 1024 * 1024;
/// Lines that wait for a console that nobody reads.
pub const LOG_CONSOLE_QUEUE: usize = 512;
pub const LOG_CONSOLE_QUEUE_BYTES: usize = 256 * 1024;
pub const LOG_RING_BYTES: usize = 256 * 1024;
pub const LOG_LINE_BYTES: usize = 16 * 1024;
pub const LOG_RETENTION: Duration = Duration::from_secs(24 * 3600);
/// `logs.tail` without parameters, and the most it gives (protocol 12).
pub const TAIL_LINES: usize = 500;
pub const TAIL_BYTES: u64 = 250_000;
pub const TAIL_LINES_MAX: usize = 5000;
pub const TAIL_BYTES_MAX: u64 = 1_000_000;
/// Responses that took at least this long are logged without `--verbose`.
pub const WS_LOG_SLOW: Duration = Duration::from_millis(50);
/// Values in WebSocket log lines are cut here.
pub const WS_LOG_VALUE_CHARS: usize = 240;

// ── Life cycle ─────────────────────────────────────────────────────────────────────────────────────────
/// How long the end of the process waits for its last log lines.
pub const LOG_FLUSH: Duration = Duration::from_millis(500);
pub const STOP_BUDGET: Duration = Duration::from_secs(5);
/// Of the stop budget: kept for the end of the process after its threads' time is up.
pub const STOP_RESERVE: Duration = Duration::from_secs(1);
/// What is left for everything after a second SIGTERM.
pub const STOP_HURRIED: Duration = Duration::from_millis(200);
/// `tailscale --version`, `tailscale serve|funnel`, `tailscale status`.
pub const TAILSCALE_DETECT: Duration = Duration::from_secs(3);
pub const TAILSCALE_PUBLISH: Duration = Duration::from_secs(15);
pub const TAILSCALE_STATUS: Duration = Duration::from_secs(5);
/// `tailscale serve|funnel reset`, within the stop budget.
pub const TAILSCALE_RESET: Duration = Duration::from_secs(3);
/// A connection that comes while no life of the gateway runs gets its 503 within this.
pub const CLOSED_DOOR: Duration = Duration::from_millis(200);
/// The same for its TLS handshake.
pub const CLOSED_DOOR_TLS: Duration = Duration::from_secs(1);
/// After this, memory that only the start needed is given back; the clients that waited for the start come first.
pub const LIFE_SETTLES: Duration = Duration::from_secs(1);
pub const RESTART_DRAIN: Duration = Duration::from_secs(90);
/// How often a restart that waits for runs looks whether they have ended.
pub const RESTART_LOOK: Duration = Duration::from_millis(500);
/// How often the configuration's files are looked at: where the system tells of changes in directories, where it does
/// not, and while they change.
pub const RELOAD_LOOK_SELDOM: Duration = Duration::from_secs(2);
pub const RELOAD_LOOK: Duration = Duration::from_millis(250);
pub const RELOAD_LOOK_CLOSELY: Duration = Duration::from_millis(50);
/// A change is read when nothing has moved for this long, and the debounce time is over.
pub const RELOAD_STABLE: Duration = Duration::from_millis(200);
/// A file that is missing is looked for again, this often and in this distance.
pub const RELOAD_RETRIES: u32 = 2;
pub const RELOAD_RETRY: Duration = Duration::from_millis(150);
/// Included files that are watched; the others are read with them, but their own changes are not seen.
pub const WATCHED_FILES: usize = 64;
pub const WRITERS_AT_STOP: Duration = Duration::from_secs(1);
pub const LOCK_WAIT: Duration = Duration::from_secs(5);
pub const LOCK_POLL: Duration = Duration::from_millis(100);
/// A lock whose owner cannot be judged is stale after this.
pub const LOCK_STALE: Duration = Duration::from_secs(30);
/// A lock file is a short JSON object; more than this is not one.
pub const LOCK_FILE_BYTES: u64 = 16 * 1024;
pub const FORCE_TERM_WAIT: Duration = Duration::from_millis(700);
pub const FORCE_TOTAL: Duration = Duration::from_secs(2);
pub const FORCE_BIND_WAIT: Duration = Duration::from_secs(3);
/// `logs/config-audit.jsonl`; when it is full it is put aside as `.1` and a new one begins.
pub const CONFIG_AUDIT_BYTES: u64 = 1024 * 1024;
/// `config.openclaw.json`, an include, a state file: larger than this is refused.
pub const CONFIG_BYTES: u64 = 8 * 1024 * 1024;
pub const INCLUDE_BYTES: u64 = 2 * 1024 * 1024;
pub const INCLUDE_DEPTH: usize = 10;
/// A command of a service manager: stopping a service may take the 30 s that its unit allows.
pub const SERVICE_COMMAND: Duration = Duration::from_secs(90);
pub const SERVICE_OUTPUT: u64 = 1024 * 1024;
/// A unit, a property list or a start script: larger than this is none of ours.
pub const SERVICE_FILE_BYTES: u64 = 256 * 1024;

// ── TLS ────────────────────────────────────────────────────────────────────────────────────────────────
/// From a connection's first byte to the end of its handshake.
pub const TLS_HANDSHAKE: Duration = Duration::from_secs(10);
/// Plain bytes that are encrypted at a time: a record.
pub const TLS_PIECE_BYTES: usize = 16 * 1024;
/// Clients that can come back without a whole handshake.
pub const TLS_SESSIONS: usize = 256;
/// A certificate with its chain, or a key.
pub const TLS_FILE_BYTES: u64 = 1024 * 1024;
/// A certificate is said to end soon in its last days, or in the last third of a shorter life.
pub const TLS_ENDS_SOON_DAYS: i64 = 30;

// ── backups ────────────────────────────────────────────────────────────────────────────────────────────
/// List of sums in a backup.
pub const BACKUP_MANIFEST_BYTES: usize = 64 * 1024 * 1024;
/// Files and directories in a backup.
pub const BACKUP_FILES: usize = 500_000;
/// A long name in a backup, with what stands around it.
pub const BACKUP_NAME_BYTES: usize = 16 * 1024;
