// SPDX-License-Identifier: Apache-2.0

package topology

import (
	"errors"
	"fmt"
	"io/fs"
)

// silence6 turns IPv6 off on a device of the host that only carries frames of others. Otherwise it has an address of its own, solicits
// routers and announces groups on the network, for ever; and routes of thousands of devices to the same groups are one long list.
func silence6(device string) error {
	err := (&Sysctl{Key: fmt.Sprintf("net/ipv6/conf/%s/disable_ipv6", device)}).write("1")
	if errors.Is(err, fs.ErrNotExist) { // a kernel without IPv6
		return nil
	}
	return cause("turn off IPv6 of "+device, err)
}
