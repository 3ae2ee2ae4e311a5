#!/usr/bin/python3
"""Writes fixtures.tsv: packets in and out of the XDP program, as scapy builds them.

Each line: name, ingress, verdict, packet in, packet out ("=": unchanged; only what is forwarded
changes). The packet out is built from its own fields, checksum by scapy, never from the packet in.

The tables that the packets meet are set up by rig.rs: ports `in` (untagged, VLAN 10, VLANs 20/30,
service VLAN 40 / VLAN 50), `host` and `none`; 10.N.0.0/16 and 2001:db8:N::/48 lead to what N stands for below.
"""

import sys

from scapy.all import (
    ARP, ICMP, IP, TCP, UDP, Dot1AD, Dot1Q, Ether, ICMPv6EchoRequest, IPOption_Router_Alert,
    IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop, Raw, RouterAlert, raw,
)

OURS, HOST_A, HOST_B, OTHER = (
    "02:00:00:00:00:01", "02:00:00:00:00:0a", "02:00:00:00:00:0b", "02:00:00:00:00:99")
OUT = "02:00:00:00:00:02"

FORWARD, VLAN, DOUBLE, SERVICE, NO_EGRESS, LOCAL, BLACKHOLE, REJECT, UNSET, EMPTY, JUMBO = range(1, 12)
SRC4, SRC6 = "192.0.2.1", "2001:db8:ffff::1"

cases = []


def dst4(to):
    return "10.6.0.1" if to == LOCAL else f"10.{to}.0.7"


def dst6(to):
    return "2001:db8:6::1" if to == LOCAL else f"2001:db8:{to}::7"


GLEAN4, GLEAN6 = "10.6.0.7", "2001:db8:6::7"

TAGS_IN = {
    "untagged": lambda: None,
    "tagged": lambda: Dot1Q(vlan=10),
    "double": lambda: Dot1Q(vlan=20) / Dot1Q(vlan=30),
    "service": lambda: Dot1AD(vlan=40) / Dot1Q(vlan=50),
}
TAGS_OUT = {
    FORWARD: lambda: None,
    VLAN: lambda: Dot1Q(vlan=100),
    DOUBLE: lambda: Dot1Q(vlan=200) / Dot1Q(vlan=300),
    SERVICE: lambda: Dot1AD(vlan=400) / Dot1Q(vlan=500),
    JUMBO: lambda: None,
}


def stack(ether, tags, ip):
    return ether / tags / ip if tags is not None else ether / ip


def frame_in(ip, tags=None, dst=OURS):
    return stack(Ether(src=HOST_A, dst=dst), tags, ip)


def frame_out(ip, to):
    return stack(Ether(src=OUT, dst=HOST_B), TAGS_OUT[to](), ip)


def case(name, verdict, packet, out=None, ingress="in", pad=0, cut=None):
    data = raw(packet)[:cut] + b"\x5a" * pad
    want = "=" if out is None else (raw(out) + b"\x5a" * pad).hex()
    cases.append((name, ingress, verdict, data.hex(), want))


def forwarded(name, make, ttl=64, to=FORWARD, tags="untagged", pad=0, ingress="in", dst=OURS, lower=1):
    """make(ttl) gives the IP packet; the one going out is made anew with the TTL lowered."""
    case(name, "forwarded", frame_in(make(ttl), TAGS_IN[tags](), dst), frame_out(make(ttl - lower), to),
         ingress=ingress, pad=pad)


def ip4(to=FORWARD, ttl=64, payload=b"peregrine", dst=None, src=SRC4, **fields):
    return IP(src=src, dst=dst or dst4(to), ttl=ttl, **fields) / UDP(sport=1000, dport=2000) / Raw(payload)


def ip6(to=FORWARD, ttl=64, payload=b"peregrine", dst=None, src=SRC6, **fields):
    return (IPv6(src=src, dst=dst or dst6(to), hlim=ttl, **fields)
            / UDP(sport=1000, dport=2000) / Raw(payload))


# --- forwarded: every combination of tags in and out, both families
for name in TAGS_IN:
    for to in (FORWARD, VLAN, DOUBLE, SERVICE):
        forwarded(f"v4 {name} to {to}", lambda ttl, to=to: ip4(to, ttl), to=to, tags=name)
        forwarded(f"v6 {name} to {to}", lambda ttl, to=to: ip6(to, ttl), to=to, tags=name)
# A priority tag is no VLAN; the priority is not carried on.
case("v4 priority tag", "forwarded", frame_in(ip4(), Dot1Q(vlan=0, prio=5)), frame_out(ip4(ttl=63), FORWARD))
case("v4 priority in a service tag", "forwarded", frame_in(ip4(), Dot1AD(vlan=0, prio=5)),
     frame_out(ip4(ttl=63), FORWARD))
case("v4 VLAN with priority bits", "forwarded", frame_in(ip4(), Dot1Q(vlan=10, prio=7, id=1)),
     frame_out(ip4(ttl=63), FORWARD))

# --- protocols and headers
forwarded("v4 tcp", lambda ttl: IP(src=SRC4, dst=dst4(1), ttl=ttl) / TCP(sport=5, dport=179, flags="S"))
forwarded("v4 icmp echo", lambda ttl: IP(src=SRC4, dst=dst4(1), ttl=ttl) / ICMP() / Raw(b"x" * 56))
forwarded("v4 protocol 89", lambda ttl: IP(src=SRC4, dst=dst4(1), ttl=ttl, proto=89) / Raw(b"x" * 20))
forwarded("v4 tos and df", lambda ttl: ip4(ttl=ttl, tos=0xb8, flags="DF"))
forwarded("v4 first fragment", lambda ttl: ip4(ttl=ttl, flags="MF", id=7))
forwarded("v4 last fragment", lambda ttl: ip4(ttl=ttl, frag=185, id=7))
forwarded("v4 header only", lambda ttl: IP(src=SRC4, dst=dst4(1), ttl=ttl, proto=17))
forwarded("v6 tcp", lambda ttl: IPv6(src=SRC6, dst=dst6(1), hlim=ttl) / TCP(sport=5, dport=179, flags="S"))
forwarded("v6 icmp echo", lambda ttl: IPv6(src=SRC6, dst=dst6(1), hlim=ttl) / ICMPv6EchoRequest(data=b"x" * 56))
forwarded("v6 class and flow", lambda ttl: ip6(ttl=ttl, tc=0xb8, fl=0xabcde))
forwarded("v6 destination options", lambda ttl: IPv6(src=SRC6, dst=dst6(1), hlim=ttl)
          / IPv6ExtHdrDestOpt() / UDP(sport=1, dport=2))
forwarded("v6 fragment", lambda ttl: IPv6(src=SRC6, dst=dst6(1), hlim=ttl)
          / IPv6ExtHdrFragment(id=9, offset=0, m=1, nh=17) / Raw(b"x" * 64))
forwarded("v6 no next header", lambda ttl: IPv6(src=SRC6, dst=dst6(1), hlim=ttl, nh=59))

# --- padding beyond the IP packet stays
forwarded("v4 padded to 60 bytes", lambda ttl: IP(src=SRC4, dst=dst4(1), ttl=ttl) / ICMP(), pad=18)
forwarded("v4 padded, tag pushed", lambda ttl: IP(src=SRC4, dst=dst4(VLAN), ttl=ttl) / ICMP(), to=VLAN, pad=18)
forwarded("v6 padded", lambda ttl: IPv6(src=SRC6, dst=dst6(1), hlim=ttl, nh=59), pad=6)

# --- TTL
for ttl in (2, 3, 128, 255):
    forwarded(f"v4 ttl {ttl}", lambda t: ip4(ttl=t), ttl=ttl)
    forwarded(f"v6 hop limit {ttl}", lambda t: ip6(ttl=t), ttl=ttl)
for ttl in (0, 1):
    case(f"v4 ttl {ttl}", "ttl_expired", frame_in(ip4(ttl=ttl)))
    case(f"v6 hop limit {ttl}", "ttl_expired", frame_in(ip6(ttl=ttl)))
    case(f"v4 ttl {ttl} to us", "local", frame_in(ip4(LOCAL, ttl=ttl)))
    case(f"v6 hop limit {ttl} to us", "local", frame_in(ip6(LOCAL, ttl=ttl)))
case("v4 ttl 1 tagged", "ttl_expired", frame_in(ip4(ttl=1), Dot1Q(vlan=10)))
case("v4 ttl 1 without a route", "no_route", frame_in(ip4(dst="10.200.0.1", ttl=1)))


# --- the checksum where its increment wraps: packets whose checksum is exactly this
def with_checksum(want):
    """The identification that gives the packet this checksum: both are terms of one sum."""
    checksum = int.from_bytes(raw(ip4(id=0))[10:12], "big")
    ident = (checksum - want) % 0xffff
    assert int.from_bytes(raw(ip4(id=ident))[10:12], "big") == want, f"{want:#x}"
    return ident


for want in (0x0000, 0x0001, 0x00ff, 0x0100, 0xfefe, 0xfeff, 0xff00, 0xff01, 0xfffe):
    ident = with_checksum(want)
    forwarded(f"v4 checksum {want:04x}", lambda ttl, ident=ident: ip4(ttl=ttl, id=ident))
# 0xffff is the other zero: no sender computes it, a receiver must accept it.
ident = with_checksum(0)
case("v4 checksum ffff", "forwarded", frame_in(ip4(id=ident, chksum=0xffff)),
     frame_out(ip4(id=ident, ttl=63), FORWARD))
for wrong in (0x0000, 0x1234, 0xffff):
    case(f"v4 wrong checksum {wrong:04x}", "bad_checksum", frame_in(ip4(id=1, chksum=wrong)))
good = int.from_bytes(raw(ip4(id=1))[10:12], "big")
for off in (1, -1, 0x100, -0x100):
    case(f"v4 checksum off by {off}", "bad_checksum", frame_in(ip4(id=1, chksum=good + off)))
case("v4 checksum in the wrong byte order", "bad_checksum",
     frame_in(ip4(id=1, chksum=int.from_bytes(good.to_bytes(2, "big"), "little"))))
case("v4 wrong checksum to us", "bad_checksum", frame_in(ip4(LOCAL, id=1, chksum=0x1234)))

# --- lengths and versions
case("no IPv4 header", "truncated", Ether(src=HOST_A, dst=OURS, type=0x800))
case("half an IPv4 header", "truncated", frame_in(ip4()), cut=14 + 19)
case("IPv4 options beyond the frame", "truncated", frame_in(IP(src=SRC4, dst=dst4(1), ihl=15, len=60)))
case("no IPv6 header", "truncated", Ether(src=HOST_A, dst=OURS, type=0x86dd))
case("half an IPv6 header", "truncated", frame_in(ip6()), cut=14 + 39)
case("no VLAN tag", "truncated", Ether(src=HOST_A, dst=OURS, type=0x8100))
case("no inner VLAN tag", "truncated", frame_in(Raw(b""), Dot1Q(vlan=20, type=0x8100)))
case("v4 version 6", "bad_version", frame_in(ip4(version=6)))
case("v4 version 0", "bad_version", frame_in(ip4(version=0)))
case("v6 version 4", "bad_version", frame_in(ip6(version=4)))
case("v4 header of 16 bytes", "bad_header_length", frame_in(ip4(ihl=4)))
case("v4 header of 0 bytes", "bad_header_length", frame_in(ip4(ihl=0)))
case("v4 total length beyond the frame", "bad_total_length", frame_in(ip4(len=38)))
case("v4 total length below the header", "bad_total_length", frame_in(ip4(len=19)))
case("v4 total length zero", "bad_total_length", frame_in(ip4(len=0)))
case("v4 total length beyond a tagged frame", "bad_total_length", frame_in(ip4(len=38), Dot1Q(vlan=10)))
case("v4 total length beyond the frame, to us", "bad_total_length", frame_in(ip4(LOCAL, len=38)))
case("v6 payload length beyond the frame", "bad_total_length", frame_in(ip6(plen=18)))
forwarded("v6 payload length exact", lambda ttl: ip6(ttl=ttl, plen=17))

# --- MTU: the IP packet counts, not the frame
forwarded("v4 of the MTU", lambda ttl: ip4(ttl=ttl, payload=b"x" * (1500 - 28)))
forwarded("v4 of the MTU, padded", lambda ttl: ip4(ttl=ttl, payload=b"x" * (1500 - 28)), pad=4)
case("v4 above the MTU", "too_big", frame_in(ip4(payload=b"x" * (1501 - 28))))
case("v4 above the MTU with DF", "too_big", frame_in(ip4(payload=b"x" * (1501 - 28), flags="DF")))
forwarded("v6 of the MTU", lambda ttl: ip6(ttl=ttl, payload=b"x" * (1500 - 48)))
case("v6 above the MTU", "too_big", frame_in(ip6(payload=b"x" * (1501 - 48))))
forwarded("v4 above 1500 where the MTU is larger", lambda ttl: ip4(JUMBO, ttl, b"x" * 2000), to=JUMBO)

# --- what the host's stack is to see
case("arp", "not_ip", Ether(src=HOST_A, dst="ff:ff:ff:ff:ff:ff") / ARP(pdst="10.0.0.1"))
case("lldp", "not_ip", Ether(src=HOST_A, dst="01:80:c2:00:00:0e", type=0x88cc) / Raw(b"\x02\x07"))
case("mpls", "not_ip", Ether(src=HOST_A, dst=OURS, type=0x8847) / Raw(b"\0" * 40))
case("three tags", "not_ip", Ether(src=HOST_A, dst=OURS) / Dot1Q(vlan=20) / Dot1Q(vlan=30) / Dot1Q(vlan=1) / ip4())
case("v4 to another MAC", "other_mac", frame_in(ip4(), dst=OTHER))
case("v6 to another MAC", "other_mac", frame_in(ip6(), dst=OTHER))
case("v4 in a broadcast frame", "broadcast", frame_in(ip4(), dst="ff:ff:ff:ff:ff:ff"))
case("v4 in a multicast frame", "multicast", frame_in(ip4(), dst="01:00:5e:01:02:03"))
case("unknown VLAN", "unknown_vlan", frame_in(ip4(), Dot1Q(vlan=999)))
case("unknown inner VLAN", "unknown_vlan", frame_in(ip4(), Dot1Q(vlan=20) / Dot1Q(vlan=31)))
case("VLAN 10 with a service tag", "unknown_vlan", frame_in(ip4(), Dot1AD(vlan=10)))
case("outer VLAN alone", "unknown_vlan", frame_in(ip4(), Dot1Q(vlan=20)))
case("VLAN 10 in the wrong byte order", "unknown_vlan", frame_in(ip4(), Dot1Q(vlan=0xa00)))
case("an interface without a port", "unknown_port", frame_in(ip4()), ingress="none")
case("v4 multicast", "multicast", frame_in(ip4(dst="224.0.0.5"), dst="01:00:5e:00:00:05"))
case("v4 multicast in a unicast frame", "multicast", frame_in(ip4(dst="239.1.2.3")))
case("v6 multicast", "multicast", frame_in(ip6(dst="ff02::1"), dst="33:33:00:00:00:01"))
case("v6 global multicast in a unicast frame", "multicast", frame_in(ip6(dst="ff0e::1")))
case("v4 limited broadcast", "broadcast", frame_in(ip4(dst="255.255.255.255")))
case("v4 to link-local", "link_local", frame_in(ip4(dst="169.254.1.1")))
case("v4 from link-local", "link_local", frame_in(ip4(src="169.254.1.1")))
case("v6 to link-local", "link_local", frame_in(ip6(dst="fe80::1")))
case("v6 from link-local", "link_local", frame_in(ip6(src="fe80::1")))
case("v6 to the end of link-local", "link_local", frame_in(ip6(dst="febf::1")))
case("v6 beyond link-local", "no_route", frame_in(ip6(dst="fec0::1")))
case("v4 to us", "local", frame_in(ip4(LOCAL)))
case("v6 to us", "local", frame_in(ip6(LOCAL)))
case("v4 to us, tagged", "local", frame_in(ip4(LOCAL), Dot1Q(vlan=10)))
case("v4 on-link", "glean", frame_in(ip4(dst=GLEAN4)))
case("v6 on-link", "glean", frame_in(ip6(dst=GLEAN6)))
case("v4 options", "options", frame_in(ip4(options=[IPOption_Router_Alert()])))
case("v4 options, tagged", "options", frame_in(ip4(options=[IPOption_Router_Alert()]), Dot1Q(vlan=10)))
case("v6 hop-by-hop", "options", frame_in(IPv6(src=SRC6, dst=dst6(1)) / IPv6ExtHdrHopByHop(options=[RouterAlert()])
                                          / UDP(sport=1, dport=2)))

# --- martians (RFC 1812 section 5.3.7; RFC 4291)
for src in ("0.0.0.0", "0.1.2.3", "127.0.0.1", "127.255.255.254", "224.0.0.1", "239.255.255.255", "240.0.0.1",
            "255.255.255.255"):
    case(f"v4 from {src}", "martian_source", frame_in(ip4(src=src)))
for src in ("1.0.0.1", "126.255.255.255", "128.0.0.1", "169.253.0.1", "169.255.0.1", "223.255.255.255"):
    forwarded(f"v4 from {src}", lambda ttl, src=src: ip4(ttl=ttl, src=src))
for dst in ("0.0.0.0", "0.1.2.3", "127.0.0.1", "240.0.0.1", "255.255.255.254"):
    case(f"v4 to {dst}", "martian_destination", frame_in(ip4(dst=dst)))
for src in ("::", "::1", "::ffff:192.0.2.1", "::192.0.2.1", "ff02::1", "ff0e::1"):
    case(f"v6 from {src}", "martian_source", frame_in(ip6(src=src)))
for src in ("64:ff9b::1", "::fffe:1.2.3.4", "1::1", "fc00::1", "2001::1"):
    forwarded(f"v6 from {src}", lambda ttl, src=src: ip6(ttl=ttl, src=src))
for dst in ("::", "::1", "::ffff:10.1.0.7", "::10.1.0.7"):
    case(f"v6 to {dst}", "martian_destination", frame_in(ip6(dst=dst)))
case("v4 martian to us", "local", frame_in(ip4(LOCAL, src="127.0.0.1")))
case("v6 martian to us", "local", frame_in(ip6(LOCAL, src="::")))
case("v4 martian on-link", "martian_source", frame_in(ip4(dst=GLEAN4, src="127.0.0.1")))
case("v4 martian without a route", "no_route", frame_in(ip4(dst="10.200.0.1", src="127.0.0.1")))

# --- what the tables say
for ip, six in ((ip4, ""), (ip6, "6")):
    v = "v6" if six else "v4"
    case(f"{v} blackhole", "blackhole", frame_in(ip(BLACKHOLE)))
    case(f"{v} reject", "reject", frame_in(ip(REJECT)))
    case(f"{v} next hop unset", "next_hop_down", frame_in(ip(UNSET)))
    case(f"{v} empty set", "next_hop_down", frame_in(ip(EMPTY)))
    case(f"{v} egress not in the device map", "no_egress", frame_in(ip(NO_EGRESS)))
case("v4 no route", "no_route", frame_in(ip4(dst="10.200.0.1")))
case("v6 no route", "no_route", frame_in(ip6(dst="2001:db8:200::1")))

# --- from the host: nothing is lowered, checked twice, or passed up
for ttl in (1, 64):
    forwarded(f"host v4 ttl {ttl}", lambda t: ip4(ttl=t), ttl=ttl, ingress="host", lower=0)
    forwarded(f"host v6 hop limit {ttl}", lambda t: ip6(ttl=t), ttl=ttl, ingress="host", lower=0)
forwarded("host v4 to any MAC", lambda t: ip4(ttl=t), ingress="host", lower=0, dst=OTHER)
forwarded("host v4 in a broadcast frame", lambda t: ip4(ttl=t), ingress="host", lower=0, dst="ff:ff:ff:ff:ff:ff")
forwarded("host v4, tags pushed", lambda t: ip4(SERVICE, t), ingress="host", lower=0, to=SERVICE)
forwarded("host v4 options", lambda t: ip4(ttl=t, options=[IPOption_Router_Alert()]), ingress="host", lower=0)
forwarded("host v6 hop-by-hop", lambda t: IPv6(src=SRC6, dst=dst6(1), hlim=t)
          / IPv6ExtHdrHopByHop(options=[RouterAlert()]) / UDP(sport=1, dport=2), ingress="host", lower=0)
for name, packet in (
    ("local", ip4(LOCAL)), ("on-link", ip4(dst=GLEAN4)), ("too big", ip4(payload=b"x" * 1473)),
    ("multicast", ip4(dst="224.0.0.5")), ("broadcast", ip4(dst="255.255.255.255")),
    ("link-local", ip4(dst="169.254.1.1")), ("v6 local", ip6(LOCAL)), ("v6 link-local", ip6(dst="fe80::1")),
):
    case(f"host {name}", "host_loop", frame_in(packet), ingress="host")
case("host arp", "host_loop", Ether(src=HOST_A, dst="ff:ff:ff:ff:ff:ff") / ARP(pdst="10.0.0.1"), ingress="host")
case("host no route", "no_route", frame_in(ip4(dst="10.200.0.1")), ingress="host")
case("host blackhole", "blackhole", frame_in(ip4(BLACKHOLE)), ingress="host")
case("host martian source", "martian_source", frame_in(ip4(src="127.0.0.1")), ingress="host")
case("host wrong checksum", "bad_checksum", frame_in(ip4(chksum=0x1234)), ingress="host")

for line in cases:
    sys.stdout.write("\t".join(line) + "\n")
