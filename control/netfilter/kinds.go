// SPDX-License-Identifier: Apache-2.0

package netfilter

import "flyover/control/reconcile"

// Kinds are the resources of this package, as a state file names them.
func Kinds() map[string]func() reconcile.Resource {
	return map[string]func() reconcile.Resource{
		Masquerade{}.Kind(): func() reconcile.Resource { return new(Masquerade) },
		Isolation{}.Kind():  func() reconcile.Resource { return new(Isolation) },
	}
}
