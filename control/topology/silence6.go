// SPDX-License-Identifier: Apache-2.0

package topology

import (
	"errors"
	"fmt"
	"io/fs"
)

// silence6 turns IPv6 off on a device of the host that only carries frames of others: otherwise it has an address of its own, solicits
// routers and announces groups on the network, for ever.
func silence6(device string) error {
	err := disable6(device).write("1")
	if errors.Is(err, fs.ErrNotExist) { // a kernel without IPv6
		return nil
	}
	return cause("turn off IPv6 of "+device, err)
}

// speaks6 says whether the device has IPv6.
func speaks6(device string) (bool, error) {
	value, err := disable6(device).read()
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return value != "1", cause("look at IPv6 of "+device, err)
}

func disable6(device string) *Sysctl {
	return &Sysctl{Key: fmt.Sprintf("net/ipv6/conf/%s/disable_ipv6", device)}
}
