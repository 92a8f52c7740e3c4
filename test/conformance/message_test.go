// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"fmt"

	"github.com/gopacket/gopacket/layers"
)

// message is an ICMP error without what it quotes.
type message struct {
	kind, code uint8
	rest       uint32 // the second word: a pointer, an MTU, a length, or unused
}

func (m message) typeCode() layers.ICMPv4TypeCode {
	return layers.CreateICMPv4TypeCode(m.kind, m.code)
}

// String is how RFCs call it, as in "ICMP 3/13".
func (m message) String() string { return fmt.Sprintf("ICMP %d/%d", m.kind, m.code) }

// vocabulary is what ICMP says of either family.
type vocabulary struct {
	protocol       layers.IPProtocol
	request, reply uint8 // echo
	// Errors that rows send or wait for.
	portUnreachable, hostUnreachable, prohibited, timeExceeded, tooBig message
	// quotes128 is the second word of portUnreachable that says that 128 octets are quoted (RFC 4884 section 4).
	quotes128 uint32
	errors    []errorKind
}

// errorKind is a type of error, with how many codes it has, and its second word.
type errorKind struct {
	kind, codes uint8
	rest        uint32
}

var (
	icmp4 = vocabulary{
		protocol: layers.IPProtocolICMPv4, request: layers.ICMPv4TypeEchoRequest, reply: layers.ICMPv4TypeEchoReply,
		portUnreachable: message{kind: layers.ICMPv4TypeDestinationUnreachable, code: layers.ICMPv4CodePort},
		hostUnreachable: message{kind: layers.ICMPv4TypeDestinationUnreachable, code: layers.ICMPv4CodeHost},
		prohibited:      message{kind: layers.ICMPv4TypeDestinationUnreachable, code: layers.ICMPv4CodeCommAdminProhibited},
		timeExceeded:    message{kind: layers.ICMPv4TypeTimeExceeded},
		tooBig:          message{kind: layers.ICMPv4TypeDestinationUnreachable, code: layers.ICMPv4CodeFragmentationNeeded, rest: 1400},
		quotes128:       128 / 4 << 16,
		errors: []errorKind{ // RFC 792, RFC 1122 and RFC 1812
			{layers.ICMPv4TypeDestinationUnreachable, 16, 0},
			{layers.ICMPv4TypeTimeExceeded, 2, 0},
			{layers.ICMPv4TypeParameterProblem, 3, 9 << 24},
		},
	}
	icmp6 = vocabulary{
		protocol: layers.IPProtocolICMPv6, request: layers.ICMPv6TypeEchoRequest, reply: layers.ICMPv6TypeEchoReply,
		portUnreachable: message{kind: layers.ICMPv6TypeDestinationUnreachable, code: layers.ICMPv6CodePortUnreachable},
		hostUnreachable: message{kind: layers.ICMPv6TypeDestinationUnreachable, code: layers.ICMPv6CodeAddressUnreachable},
		prohibited:      message{kind: layers.ICMPv6TypeDestinationUnreachable, code: layers.ICMPv6CodeAdminProhibited},
		timeExceeded:    message{kind: layers.ICMPv6TypeTimeExceeded},
		tooBig:          message{kind: layers.ICMPv6TypePacketTooBig, rest: 1400},
		quotes128:       128 / 8 << 24,
		errors: []errorKind{ // RFC 4443, RFC 6550 and RFC 7112
			{layers.ICMPv6TypeDestinationUnreachable, 8, 0},
			{layers.ICMPv6TypePacketTooBig, 1, 0},
			{layers.ICMPv6TypeTimeExceeded, 2, 0},
			{layers.ICMPv6TypeParameterProblem, 4, 6},
		},
	}
)

// icmp is the vocabulary of the family that the row is about.
func (h *host) icmp() vocabulary {
	if h.addr.six() {
		return icmp6
	}
	return icmp4
}

// messages are all errors about a packet.
func (v vocabulary) messages() []message {
	var all []message
	for _, k := range v.errors {
		for code := range k.codes {
			m := message{k.kind, code, k.rest}
			if m.typeCode() == v.tooBig.typeCode() {
				m = v.tooBig
			}
			all = append(all, m)
		}
	}
	return all
}

// protocol is one that is translated.
type protocol struct {
	name   string
	number layers.IPProtocol
}

// protocols are those that are translated.
func (h *host) protocols() []protocol {
	return []protocol{{"TCP", layers.IPProtocolTCP}, {"UDP", layers.IPProtocolUDP}, {"echo", h.icmp().protocol}}
}

// isMessage matches ICMP of a type and code that was received.
func isMessage(m message) func(frame) bool {
	return func(f frame) bool { return !f.Sent && f.Message() != nil && f.Message().TypeCode == m.typeCode() }
}
