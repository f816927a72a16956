/**
 * What the stack counts: one object a layer that lives as long as the host, one counter for every reason to drop.
 * Plain numbers that only grow; whoever reports reads them in place.
 */

export class EthernetCounters {
  received = 0
  /** Shorter than an Ethernet header. */
  dropShort = 0
  /** Addressed to another station. */
  dropOther = 0
  /** An EtherType nobody here speaks. */
  dropType = 0
  /** Frames whose arrival the interface stamped, and of those that it stamped, those whose time cannot be right. */
  hardwareTimes = 0
  hardwareTimesRefused = 0
  /** Frames of several buffers that found no line for each of them. */
  dropNoLine = 0
}

export class ArpCounters {
  received = 0
  requestsSent = 0
  repliesSent = 0
  /** Not ARP for IPv4 over Ethernet, short, or an unknown operation. */
  dropMalformed = 0
  /** Senders not remembered: every entry is in use. */
  dropFull = 0
  /** Somebody else claims our address (RFC 5227 2.4). */
  conflicts = 0
  /** Frames that waited for a neighbour that did not answer, or for which there was no room to wait. */
  dropUnresolved = 0
}

export class Ipv4Counters {
  received = 0
  sent = 0
  dropShort = 0
  dropVersion = 0
  dropHeaderLength = 0
  dropTotalLength = 0
  dropChecksum = 0
  /** Source is no unicast address of somebody else (RFC 1122 3.2.1.3). */
  dropSource = 0
  /** For another host, or broadcast and multicast that nobody here listens to. */
  dropDestination = 0
  dropProtocol = 0
  /** Of `sent`: fragments. */
  fragmentsSent = 0
  /** Sending: no route to the destination. */
  dropNoRoute = 0
  /** Sending: the pool had no buffer for headers. */
  dropNoBuffer = 0
}

/** Reassembly of received fragments, of one IP version. */
export class FragmentCounters {
  received = 0
  /** Datagrams that became whole. */
  reassembled = 0
  /** Datagrams whose time was up. */
  timeouts = 0
  /** Datagrams given up because memory was short. */
  evicted = 0
  /** Fragments that were there already. */
  duplicates = 0
  /** Empty, no multiple of 8 bytes, or beyond what a datagram can hold. */
  dropMalformed = 0
  /** Parts a transport header (RFC 1858, RFC 3128). */
  dropTiny = 0
  /** Overlaps what is there, or belongs to a datagram that was refused for that (RFC 5722). */
  dropOverlap = 0
  /** No buffer or line may be held for it. */
  dropMemory = 0
  /** Datagrams of which one fragment met congestion, and another one says that it cannot be marked (RFC 3168 5.3). */
  dropEcn = 0
}

export class Ipv6Counters {
  received = 0
  sent = 0
  dropShort = 0
  dropVersion = 0
  dropPayloadLength = 0
  /** Source is no unicast address of somebody else (RFC 4291 2.7, 2.5.3), or an IPv4 address in disguise. */
  dropSource = 0
  /** For another host, for a group nobody here listens to, or for an address not yet (or never to be) used. */
  dropDestination = 0
  /** A next header nobody here speaks, or hop-by-hop options that do not stand first; answered by ICMPv6. */
  dropNextHeader = 0
  /** "No next header": nothing to deliver. */
  dropNoNextHeader = 0
  /** More extension headers, or options in one, than anybody needs. */
  dropExtensionCount = 0
  /** An extension header or an option that goes on behind its end. */
  dropExtensionLength = 0
  /** An unknown option that asks for it; answered by ICMPv6 if it asks for that, too. */
  dropOption = 0
  /** A routing header with segments left (RFC 5095); answered by ICMPv6. */
  dropRouting = 0
  /** Of `sent`: fragments. */
  fragmentsSent = 0
  /** Reassembled, and yet a fragment, or without its headers in the first fragment (RFC 7112). */
  dropFragment = 0
  /** Sending: no route to the destination. */
  dropNoRoute = 0
  /** Sending: the pool had no buffer for headers. */
  dropNoBuffer = 0
}

export class NdpCounters {
  solicitationsReceived = 0
  advertisementsReceived = 0
  solicitationsSent = 0
  advertisementsSent = 0
  /** Came through a router: its hop limit is not 255 (RFC 4861 7.1). */
  dropHopLimit = 0
  /** Short, a code, a target or an option that may not be (RFC 4861 7.1). */
  dropMalformed = 0
  /** About an address that nobody here has, or that nobody here asked for. */
  dropTarget = 0
  /** Router advertisements, solicitations and redirects: routes come from the configuration. */
  ignoredRouter = 0
  /** Somebody else has, or wants, an address of ours (RFC 4862 5.4). */
  duplicates = 0
  /** Neighbours that stopped answering. */
  unreachable = 0
  dropUnresolved = 0
}

export class Icmpv6Counters {
  received = 0
  echoRequests = 0
  echoReplies = 0
  errorsReceived = 0
  errorsSent = 0
  dropShort = 0
  /** In fragments, and no echo request (RFC 6980). */
  dropFragmented = 0
  dropChecksum = 0
  dropType = 0
  /** Errors not sent because of the rate limit. */
  dropRate = 0
}

export class IcmpCounters {
  received = 0
  echoRequests = 0
  echoReplies = 0
  errorsReceived = 0
  errorsSent = 0
  /** Routers' advice to go elsewhere, which is not followed (docs/ip.md). */
  ignoredRedirect = 0
  dropShort = 0
  dropChecksum = 0
  dropType = 0
  /** Errors not sent because of the rate limit. */
  dropRate = 0
}

export class UdpCounters {
  received = 0
  sent = 0
  /** Shorter than its header, or longer than its packet. */
  dropLength = 0
  dropChecksum = 0
  /** Nobody has the port, or not for this peer; answered by ICMP. */
  dropNoPort = 0
  /** The port's queue is full, or the pool is. */
  dropQueue = 0
}

export class TcpCounters {
  received = 0
  sent = 0
  /** Of these, frames of several segments that the device has cut (runs.ts). */
  runsSent = 0
  /** Segments with payload that went to a connection in order. */
  receivedInOrder = 0
  receivedOutOfOrder = 0
  retransmitted = 0
  /** Time-outs of the retransmission timer. */
  timeouts = 0
  /** Fast recoveries. */
  fastRetransmits = 0
  /** Reductions taken back because nothing had been lost. */
  spuriousRecoveries = 0
  spuriousTimeouts = 0
  tailProbes = 0
  /** Losses that a tail probe repaired. */
  tailProbeRepairs = 0
  /** ACKs with a duplicate SACK block: the peer got something twice. */
  duplicateSacks = 0
  /** Packets that a router has marked instead of dropping them (RFC 3168). */
  congestionMarks = 0
  /** Reductions of the window that a peer's echo of such marks has brought about. */
  congestionEchoes = 0
  zeroWindowProbes = 0
  /** Long segments that nothing was heard of: shorter ones are sent. */
  mtuBlackHoles = 0
  /** Longer segments, to find out what the path takes. */
  mtuProbesSent = 0
  mtuProbesAcknowledged = 0
  mtuProbesLost = 0
  keepAliveProbes = 0
  delayedAcks = 0
  /** Segments with an urgent pointer, which means nothing here (RFC 6093). */
  urgentIgnored = 0
  challengeAcks = 0
  resetsSent = 0
  resetsReceived = 0
  activeOpens = 0
  passiveOpens = 0
  established = 0
  /** SYN cookies: SYNs answered with one, connections made from one, ACKs that brought none where one could be. */
  cookiesSent = 0
  cookiesAccepted = 0
  cookiesRefused = 0
  /** Connections that the application got with their SYNs (RFC 7413), and SYNs that were one too many for that. */
  fastOpens = 0
  fastOpenOverflows = 0
  timeWaits = 0
  timeWaitsReused = 0

  dropShort = 0
  dropChecksum = 0
  /** No connection and no listener: answered by RST. */
  dropNoConnection = 0
  dropBacklog = 0
  dropConnectionsMax = 0
  /** SYNs, and last ACKs of handshakes, for an application that takes no connection now (Linux ListenOverflows). */
  dropNotAccepting = 0
  /** Old duplicate by its timestamp (RFC 7323 5). */
  dropPaws = 0
  /** Outside the window; answered by an ACK. */
  dropSequence = 0
  /** Acknowledges what was never sent, or is too old (RFC 5961 5.2). */
  dropAck = 0
  /** No ACK flag where one must be. */
  dropNoAck = 0
  /** RST that is not exactly where it has to be (RFC 5961 3.2). */
  dropReset = 0
  /** SYN on an established connection (RFC 5961 4.2). */
  dropSyn = 0
  /** Data after this side can no longer deliver it. */
  dropData = 0
  /** No free line or buffer, or over the reassembly limit. */
  dropNoMemory = 0
  /** The pool ran low, and the application does not read what is there. */
  dropUnread = 0
  /** Bytes that were received before. */
  duplicateBytes = 0
  /** Bytes of small segments that were copied together, to save buffers. */
  coalescedBytes = 0
  /** Out-of-order lines given up because memory ran out. */
  prunedLines = 0
}

export class StackCounters {
  readonly ethernet = new EthernetCounters()
  readonly arp = new ArpCounters()
  readonly ipv4 = new Ipv4Counters()
  readonly fragments = new FragmentCounters()
  readonly icmp = new IcmpCounters()
  readonly ipv6 = new Ipv6Counters()
  readonly ndp = new NdpCounters()
  readonly ipv6Fragments = new FragmentCounters()
  readonly icmpv6 = new Icmpv6Counters()
  readonly udp = new UdpCounters()
  readonly tcp = new TcpCounters()
}
