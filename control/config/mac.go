// SPDX-License-Identifier: Apache-2.0

package config

import (
	"crypto/sha256"
	"net"
	"net/netip"
)

// GatewayMAC is the address of the network's bridge device. It depends on the network's name alone, so endpoints'
// neighbour entries stay right when the bridge is made anew.
func (n Network) GatewayMAC() net.HardwareAddr { return stableMAC(n.Name) }

func defaultMAC(network string, addr netip.Addr) net.HardwareAddr {
	// No name contains the separator, so no network's name can be mistaken for another's endpoint.
	return stableMAC(network + "/" + addr.String())
}

// stableMAC is a locally administered unicast address made from seed.
func stableMAC(seed string) net.HardwareAddr {
	const locallyAdministered = 0x02
	sum := sha256.Sum256([]byte(seed))
	return append(net.HardwareAddr{locallyAdministered}, sum[:5]...)
}
