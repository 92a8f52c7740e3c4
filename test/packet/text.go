// SPDX-License-Identifier: Apache-2.0

package packet

import (
	"encoding/hex"
	"strings"

	"github.com/google/go-cmp/cmp"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// Text is the frame for people: its layers, then its octets.
func Text(frame []byte) string {
	return gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.Default).String() + hex.Dump(frame)
}

// Diff is empty for equal frames; else what differs between got and want, in layers and in octets.
func Diff(want, got []byte) string {
	if string(want) == string(got) {
		return ""
	}
	return cmp.Diff(strings.Split(Text(want), "\n"), strings.Split(Text(got), "\n"))
}
