// SPDX-License-Identifier: Apache-2.0

package topology

import (
	"net"
	"net/netip"
)

// MAC is an Ethernet address in the order of the wire. Zero: unset. A net.HardwareAddr of six bytes converts with MAC(hw).
type MAC [6]byte

// IsZero says that the address is unset.
func (m MAC) IsZero() bool { return m == MAC{} }

// Hardware returns the address for the net package, nil when it is unset.
func (m MAC) Hardware() net.HardwareAddr {
	if m.IsZero() {
		return nil
	}
	return net.HardwareAddr(m[:])
}

// String returns "02:00:00:00:00:01", or nothing when the address is unset.
func (m MAC) String() string { return m.Hardware().String() }

// LinkLocal is the IPv6 address of its interface that the MAC makes (RFC 4291 appendix A).
func (m MAC) LinkLocal() netip.Addr {
	return netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 8: m[0] ^ 2, 9: m[1], 10: m[2], 11: 0xff, 12: 0xfe, 13: m[3], 14: m[4], 15: m[5]})
}

// MarshalText writes the address as String does.
func (m MAC) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (m *MAC) UnmarshalText(text []byte) error {
	*m = MAC{}
	if len(text) == 0 {
		return nil
	}
	hw, err := net.ParseMAC(string(text))
	if err != nil {
		return err
	}
	if len(hw) != len(m) {
		return &net.AddrError{Err: "not an Ethernet address", Addr: string(text)}
	}
	*m = MAC(hw)
	return nil
}

func macOf(hw net.HardwareAddr) MAC {
	var m MAC
	copy(m[:], hw)
	return m
}
