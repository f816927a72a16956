/**
 * Every limit and default of the stack, once, with unit and source. Options may override those that say so.
 */

/* --- Ethernet, ARP, IPv4 --- */

/** An interface whose clock is farther than this from the system's is not believed: it runs free, or counts TAI (37 s ahead). */
export const HARDWARE_TIME_SKEW_NS_MAX = 1_000_000_000

/** Header slot: Ethernet 14 + IPv6 40 + TCP 60 fit. */
export const HEADER_SLOT_BYTES = 128

/** Neighbours remembered; failed and idle ones go first, those in use last. */
export const ARP_ENTRIES_MAX = 512
/** Frames that wait for one unresolved neighbour: a datagram of 65,507 bytes takes 45. RFC 1122 2.3.2.2 asks for at least one. */
export const PENDING_PER_NEIGHBOUR_MAX = 48
/** Frames that wait for all unresolved neighbours of one IP version together. */
export const PENDING_MAX = 96
/** Requests before a neighbour counts as unreachable; Linux mcast_solicit. */
export const ARP_REQUESTS_MAX = 3
/** Between requests; Linux retrans_time, and the 1/s that RFC 1122 2.3.2.1 asks for. */
export const ARP_RETRY_MS = 1000
/** An unreachable neighbour is asked again after this. */
export const ARP_FAILED_MS = 3000
/** An entry is trusted this long; RFC 1122 2.3.2.1 suggests about a minute. */
export const ARP_REACHABLE_MS = 60_000
/** Before it expires, a used entry is confirmed by unicast (RFC 1122 2.3.2.1 (2)). */
export const ARP_REFRESH_MS = 45_000

export const IPV4_TTL = 64 // RFC 1700; Linux ip_default_ttl

/* --- IPv6, Neighbor Discovery, ICMPv6 --- */

export const IPV6_HOP_LIMIT = 64 // RFC 1700; Linux net.ipv6 hop_limit
/** Every link of IPv6 takes packets of this size (RFC 8200 5); no path MTU below is believed (RFC 8201 4). */
export const IPV6_MTU_MIN = 1280
/** Extension headers in front of a transport; real packets have one or two. */
export const IPV6_EXTENSION_HEADERS_MAX = 6
/** Options in one extension header, padding included; Linux max_hbh_opts_number allows 8 beside padding. */
export const IPV6_OPTIONS_MAX = 16
/** Neighbours remembered; which goes first when it is full: neighbour-cache.ts. */
export const NDP_ENTRIES_MAX = 512
/* RFC 4861 10; Linux has the same. */
export const NDP_SOLICITATIONS_MAX = 3
export const NDP_RETRY_MS = 1000
export const NDP_REACHABLE_MS = 30_000
export const NDP_DELAY_FIRST_PROBE_MS = 5000
/** An unreachable neighbour is asked again after this; as ARP. */
export const NDP_FAILED_MS = 3000
/** Solicitations of duplicate address detection (RFC 4862 5.1 DupAddrDetectTransmits); Linux dad_transmits. */
export const DAD_TRANSMITS = 1

/* --- ICMP --- */

/** Smallest path MTU believed from ICMP over IPv4, bytes; Linux min_pmtu. A forged or zero MTU must not stall TCP. */
export const PATH_MTU_MIN = 552
/** Destinations whose path is narrower than the link. */
export const PATH_MTU_ENTRIES_MAX = 256
/** What was learned of a path is forgotten after this (RFC 1191 6.3); Linux mtu_expires, tcp_probe_interval. */
export const PATH_MTU_LIFETIME_MS = 600_000
/** ICMP errors that the host sends (RFC 1812 4.3.2.8): a second, and at once; Linux icmp_msgs_per_sec, icmp_msgs_burst. */
export const ICMP_ERRORS_PER_SECOND = 1000
export const ICMP_ERRORS_BURST = 50
/** To one destination: one in this time, so many at once; Linux icmp_ratelimit, XRLIM_BURST_FACTOR. */
export const ICMP_ERRORS_PER_DESTINATION_INTERVAL_MS = 1000
export const ICMP_ERRORS_PER_DESTINATION_BURST = 6
/** Static routes, of both versions together. */
export const ROUTES_MAX = 64

/* --- Fragments --- */

/** Datagrams being put together, of one IP version. */
export const FRAGMENT_DATAGRAMS_MAX = 256
/** Buffers of one datagram: 65,535 bytes over links of 576 take 119. Smaller fragments are only made to be many. */
export const FRAGMENT_LINES_PER_DATAGRAM_MAX = 128
/** Buffers that incomplete datagrams hold together, 4 MB as Linux ipfrag_high_thresh; never more than a quarter of the pool. */
export const FRAGMENT_BUFFERS_MAX = 2048
/** Of these, what one source may hold before its older datagrams make room for its newer ones; at most half. */
export const FRAGMENT_BUFFERS_PER_SOURCE_MAX = 512
/** A datagram has this long to be complete, from its first fragment on; Linux ipfrag_time. RFC 1122 3.3.2 says 60 to 120 s. */
export const FRAGMENT_TIMEOUT_MS = 30_000
export const IPV6_FRAGMENT_TIMEOUT_MS = 60_000 // RFC 8200 4.5; Linux ip6frag_time

/* --- UDP --- */

/** Buffers with datagrams that wait for one application. Linux's rmem_default holds about as many of full size. */
export const UDP_QUEUE_BUFFERS = 128

/* --- TCP --- */

export const CONNECTIONS_MAX = 16_384
export const TIME_WAITS_MAX = 32_768
/** TIME-WAIT lasts 2 MSL, milliseconds; Linux TCP_TIMEWAIT_LEN. RFC 9293 says 4 minutes. */
export const TIME_WAIT_MS = 60_000
/** A port in TIME-WAIT may be used for a new connection after this, if timestamps keep the two apart; Linux tcp_tw_reuse. */
export const TIME_WAIT_REUSE_MS = 1000
/** FIN-WAIT-2 without a reading application; Linux tcp_fin_timeout. */
export const FIN_WAIT_2_MS = 60_000

export const LISTEN_BACKLOG = 1024 // Linux tcp_max_syn_backlog's order
/** Connections of one listener that Fast Open has accepted and whose handshakes are not over (RFC 7413 5.1). */
export const FAST_OPEN_PENDING_MAX = 64
/** Servers whose cookies a client remembers. */
export const FAST_OPEN_SERVERS_MAX = 256
/** Where SYNs with data are lost no more are sent for this time, twice as long with every loss (RFC 7413 4.1.3.1); as Linux once had it. */
export const FAST_OPEN_LOSS_PAUSE_MS = 60_000
/** A listener believes cookies for so long after it sent the last one; Linux TCP_SYNCOOKIE_VALID. */
export const SYN_COOKIES_BELIEVED_MS = 120_000
export const RECEIVE_LIMIT_BYTES = 4 << 20
/** What may be queued for sending, at most, unless the application says otherwise: twice a window of 4 MiB. */
export const SEND_LIMIT_BYTES = 8 << 20
/** And before the congestion window has grown. */
export const SEND_LIMIT_START_BYTES = 256 << 10
/** The send queue never grows beyond what this part of the free lines carries. */
export const SEND_TUNING_POOL_SHARE = 8
/** The window before anything was read: what a SYN can say. Linux's tcp_rmem starts as high. */
export const RECEIVE_WINDOW_START_BYTES = 65_535
/** Added to twice what is read in a round trip; Linux tcp_rcv_space_adjust. */
export const RECEIVE_TUNING_SPARE_SEGMENTS = 16
/** A window never grows beyond what this part of the free buffers carries. */
export const RECEIVE_TUNING_POOL_SHARE = 4
/** What a buffer is taken to carry when free buffers are turned into a window: half of what a full segment brings. */
export const WINDOW_BYTES_PER_BUFFER = 730
/** Buffers that a window never promises: headers, ACKs and replies of the whole host need them. */
export const POOL_RESERVE_BUFFERS = 128
/** Below so many reserves of free buffers, a connection may have no more unread lines than this; below one reserve, none. */
export const PRESSURE_RESERVES = 2
export const UNREAD_LINES_UNDER_PRESSURE = 16
/** Out-of-order lines one connection may hold, and never more than this part of the pool's. */
export const REASSEMBLY_LINES_MAX = 32_768
export const REASSEMBLY_POOL_SHARE = 4
/**
 * Lines that wait for one connection's application before small segments are copied together: more than one burst can
 * bring, so that whoever reads what each burst brings has nothing copied.
 */
export const COALESCE_LINES = 160
/** Below this part of the pool's buffers free, they always are. */
export const COALESCE_POOL_SHARE = 8
/** A small segment: copying it costs less than the buffer it would hold. */
export const COALESCE_SEGMENT_BYTES_MAX = 512

/* RFC 9293 3.7.1, MUST-15: what the smallest links let through. */
export const MSS_DEFAULT = 536
export const MSS_DEFAULT_IPV6 = 1220
/** Payload of a frame of several segments: with the longest headers, of IPv6 too, it is a packet of 65,535 bytes. */
export const RUN_BYTES_MAX = 65_535 - 40 - 60
/** Smallest segment size accepted from a peer's option; Linux TCP_MIN_SND_MSS less its options. */
export const MSS_MIN = 48
export const WINDOW_SCALE_MAX = 14 // RFC 7323 2.3

export const RTO_INITIAL_MS = 1000 // RFC 6298 (2.1)
export const RTO_MIN_MS = 200 // Linux TCP_RTO_MIN; RFC 6298 (2.4) says 1 s
export const RTO_MAX_MS = 120_000 // Linux TCP_RTO_MAX; RFC 6298 (2.5) allows 60 s or more
export const RTO_AFTER_SYN_LOSS_MS = 3000 // RFC 6298 (5.7): a SYN was lost and nothing could be measured
export const SYN_RETRIES_MAX = 6 // Linux tcp_syn_retries: gives up after 127 s
export const SYN_ACK_RETRIES_MAX = 5 // Linux tcp_synack_retries: gives up after 63 s
export const RETRIES_MAX = 15 // Linux tcp_retries2: R2 of RFC 9293 3.8.3, about 15 minutes
/** FIN-WAIT-1, CLOSING, LAST-ACK: nobody waits for the result; Linux tcp_orphan_retries. */
export const ORPHAN_RETRIES_MAX = 8

export const DELAYED_ACK_MS = 40 // Linux TCP_DELACK_MIN; RFC 9293 3.8.6.3 allows 500
/** RFC 9293 3.8.6.3: an ACK for at least every second full segment. */
export const ACK_EVERY_SEGMENTS = 2
/**
 * Behind a sign of loss or reordering no ACK stands for more than two of so many segments: where one frame of a thousand is lost
 * the next sign comes in time, and a clean fast path pays for each loss with a thousand ACKs at most.
 */
export const WATCHFUL_SEGMENTS = 2048
/** When Accurate ECN's option goes, and how often a round trip at least; Linux tcp_ecn_option, tcp_ecn_option_beacon. */
export const ECN_OPTION = 2
export const ECN_OPTION_BEACON = 3
/** Segments acknowledged at once while the peer's window opens; Linux TCP_MAX_QUICKACKS. */
export const QUICK_ACKS = 16
/** Of the window a round trip; Linux tcp_pacing_ss_ratio, tcp_pacing_ca_ratio. */
export const PACING_SLOW_START_PERCENT = 200
export const PACING_AVOIDANCE_PERCENT = 120
export const INITIAL_WINDOW_SEGMENTS = 10 // RFC 6928
/** Largest congestion window: what a window can say (RFC 7323 2.3). */
export const WINDOW_MAX_BYTES = 0x3fffffff
export const CUBIC_BETA = 0.7 // RFC 9438 4.6
export const CUBIC_C = 0.4 // RFC 9438 4.1, segments a second cubed
/* RFC 9406 4.3. */
export const HYSTART_THRESHOLD_US_MIN = 4000
export const HYSTART_THRESHOLD_US_MAX = 16_000
export const HYSTART_RTT_DIVISOR = 8
export const HYSTART_SAMPLES = 8
export const HYSTART_CONSERVATIVE_DIVISOR = 4
export const HYSTART_CONSERVATIVE_ROUNDS = 5
export const DUPLICATE_ACKS = 3 // RFC 5681 3.2
/** Most by which a path is said to reorder, segments. */
export const REORDERING_SEGMENTS_MAX = 300 // Linux tcp_max_reordering
/** Segments one connection may have in flight: bounds the scoreboard, 32 bytes each. */
export const SEGMENTS_IN_FLIGHT_MAX = 32_768
/** The least round trip is the least of this and the same time before; Linux tcp_min_rtt_wlen is 300 s. */
export const MIN_RTT_WINDOW_MS = 150_000
/** Recoveries without duplicate SACK after which the reordering window is small again (RFC 8985 6.2 step 4). */
export const REORDER_WINDOW_RECOVERIES = 16
/** Growth of the reordering window by duplicate SACKs, quarters of a round trip; Linux's reo_wnd_steps has 8 bits. */
export const REORDER_WINDOW_MULTIPLIER_MAX = 255
/** A lone segment's ACK may be delayed by the peer (RFC 8985 7.2); Linux adds the minimum RTO. */
export const TAIL_PROBE_ACK_DELAY_MS = 200
/** Added to two round trips, so that clocks of 1 ms do not probe too early; Linux TCP_TIMEOUT_MIN. */
export const TAIL_PROBE_MIN_MS = 2

/** What gets through nearly everywhere; Linux tcp_base_mss. */
export const MTU_PROBE_BASE_MSS = 1024
/** Time-outs in a row of a long segment that mean a black hole; Linux tcp_retries1. */
export const BLACK_HOLE_TIMEOUTS = 3
/** The search ends when so little is unknown; Linux tcp_probe_threshold. */
export const MTU_PROBE_PRECISION_BYTES = 8
/** A probe waits for a window of so many segments, so that its loss is found without the timer; Linux says 11. */
export const MTU_PROBE_WINDOW_SEGMENTS = 11
/** Segments that must be ready to follow a probe: three duplicates and one. */
export const MTU_PROBE_FOLLOWERS = 4

export const KEEP_ALIVE_IDLE_MS = 7_200_000 // RFC 9293 3.8.4: at least two hours
export const KEEP_ALIVE_INTERVAL_MS = 75_000 // Linux tcp_keepalive_intvl
export const KEEP_ALIVE_PROBES = 9 // Linux tcp_keepalive_probes

/** Challenge ACKs per second for the whole host (RFC 5961 10), half of it to one and a half; Linux tcp_challenge_ack_limit. */
export const CHALLENGE_ACKS_PER_SECOND = 1000
/** ACKs in answer to out-of-window segments, one per connection in this time; Linux tcp_invalid_ratelimit. */
export const INVALID_ACK_INTERVAL_MS = 500
/** tsRecent older than this is not trusted: PAWS is skipped (RFC 7323 5.5). */
export const PAWS_AGE_MS = 24 * 86_400_000

export const EPHEMERAL_PORT_FIRST = 49_152 // RFC 6335 6
export const EPHEMERAL_PORT_LAST = 65_535
/** Ports that are looked at before one in TIME-WAIT is good enough. */
export const EPHEMERAL_PORTS_TRIED = 128
