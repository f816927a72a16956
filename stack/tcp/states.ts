/**
 * States of a connection and of its acknowledgement, and what is news to its application: plain integers, in a file of
 * their own so that every part of TCP can name them.
 */

/* States, RFC 9293 3.3.2. LISTEN and TIME-WAIT have their own, lighter representations (listen.ts, time-wait.ts). */
export const STATE_CLOSED = 0
export const STATE_SYN_SENT = 1
export const STATE_SYN_RECEIVED = 2
export const STATE_ESTABLISHED = 3
export const STATE_FIN_WAIT_1 = 4
export const STATE_FIN_WAIT_2 = 5
export const STATE_CLOSING = 6
export const STATE_CLOSE_WAIT = 7
export const STATE_LAST_ACK = 8

/** What ackPending means. */
export const ACK_NONE = 0
/** An ACK may wait for the delayed-ACK timer or for data to ride on. */
export const ACK_DELAYED = 1
/** An ACK leaves with this burst. */
export const ACK_NOW = 2
/** As ACK_NOW, but not for what the burst's next segments bring, too (acknowledge.ts). */
export const ACK_OWN = 3

/* What the loss timer of a connection means (timer-arming.ts). */
export const LOSS_TIMER_RETRANSMISSION = 0
/** RFC 9293 3.8.6.1. */
export const LOSS_TIMER_PERSIST = 1
/** RFC 8985 6.3: a segment that was overtaken counts as lost when it fires. */
export const LOSS_TIMER_REORDER = 2
/** RFC 8985 7.2. */
export const LOSS_TIMER_PROBE = 3
/** The application has corked the connection, and nothing is in flight: what waits goes when it fires. */
export const LOSS_TIMER_CORK = 4

/* Loss recovery (recovery.ts). */
export const RECOVERY_NONE = 0
export const RECOVERY_FAST = 1
export const RECOVERY_TIMEOUT = 2

/** Bits of `news`: which callbacks are due at the end of the burst. */
export const NEWS_RECEIVE = 1
export const NEWS_SEND_SPACE = 2

/* Connection.receiveFinished, 0: data may come. */
/** The peer's FIN was received, nothing comes behind what is queued. */
export const RECEIVE_FINISHED = 1
/** The application has gone: data is answered by a RST. */
export const RECEIVE_REFUSED = 2

/* Connection.fastOpenOption. */
export const FAST_OPEN_NONE = 0
/** The option of RFC 7413, or the experimental one that came before it. */
export const FAST_OPEN_STANDARD = 1
export const FAST_OPEN_EXPERIMENTAL = 2
