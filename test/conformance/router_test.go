// SPDX-License-Identifier: Apache-2.0

package conformance

var routerRows = []row{
	{36, "TTL is decremented once when routed, not when bridged", "RFC 791; RFC 1812 section 5.3.1", "", checkHops},
	{37, "A packet whose TTL runs out is answered by the gateway, or by the uplink's address; multicast is not",
		"RFC 1812 sections 4.3.3.4 and 4.3.2.4", "", checkTimeExceeded},
	{38, "A packet too large with DF is answered with the next hop's MTU", "RFC 1191 section 4; RFC 4787 REQ-13", "", checkTooBig},
	{39, "A packet too large without DF is fragmented, in order", "RFC 4787 REQ-13a", "", checkFragmented},
	{40, "ICMP errors quote at least header and 8 octets, and have at most 576", "RFC 1812 section 4.3.2.3", "", checkQuotes},
	{41, "No ICMP error about what must not be answered", "RFC 1812 section 4.3.2.7", "", checkNoErrors},
	{42, "ICMP errors are limited in rate, and others do not suffer", "RFC 1812 section 4.3.2.8", "", checkErrorRate},
	{43, "Invalid IPv4 headers are dropped and counted", "RFC 1812 section 5.2.2", "", checkHeaders},
	{44, "Martian addresses are dropped", "RFC 1812 section 5.3.7", "", checkMartians},
	{45, "Broadcasts are not routed", "RFC 1812 sections 5.3.4 and 5.3.5", "", checkBroadcasts},
	{46, "Source routes are dropped, other IPv4 options pass", "RFC 1812 section 5.3.13; RFC 7126 section 4", "", checkOptions},
	{47, "DSCP and ECN are kept", "RFC 2474; RFC 3168", "", checkTOS},
	{48, "Gateway and uplink answer pings, and the host reaches endpoints", "RFC 1812 section 4.3.3.6", "", checkPings},
}
