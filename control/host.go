// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"flyover/control/config"
	"flyover/control/reconcile"
	"flyover/control/state"
)

// ErrPrivilege says that the caller may not change the host's network.
var ErrPrivilege = errors.New("needs root (CAP_NET_ADMIN, CAP_SYS_ADMIN and CAP_BPF)")

// Host is the network namespace of the calling process, as flyover changes it.
type Host struct {
	// Version of flyover; another one brings its own programs.
	Version string
	// Hook that runs the programs: "tcx", "clsact", or "" for the best that the kernel has.
	Hook string
	// BridgeEndpoints is how many endpoints of a network are ports of one bridge, 1023 at most with the trunks to further ones. Optional:
	// config.BridgeEndpoints.
	BridgeEndpoints int
	// OnlyChanges has Up look only at what the configuration has changed since the last Up, unless that did not come to its end.
	OnlyChanges bool
	// Unseen, if not nil, is told how many objects OnlyChanges has left out.
	Unseen func(int)
	// Done, if not nil, is told of each step that has been taken.
	Done func(reconcile.Op)
	// Warn, if not nil, is told what works less than the configuration may mean.
	Warn func(string)
}

// Up makes the host as the configuration says and returns the steps that it took: none if it was so already. When it returns an
// error, the host is as before.
func (h Host) Up(ctx context.Context, cfg *config.Config) (reconcile.Plan, error) {
	store, owned, err := h.open()
	if err != nil {
		return nil, err
	}
	defer store.Close()
	w, err := h.want(cfg, owned)
	if err != nil {
		return nil, err
	}
	done, err := h.converge(ctx, store, w, owned)
	if err != nil {
		return nil, err
	}
	if err := retire(w); err != nil { // the next run tries again
		h.warn(fmt.Sprintf("programs that nothing runs any more stay pinned: %v", err))
	}
	return done, nil
}

// Plan returns the steps that Up would take first, and takes none.
func (h Host) Plan(cfg *config.Config) (reconcile.Plan, error) {
	if os.Geteuid() != 0 {
		return nil, ErrPrivilege
	}
	owned, err := state.Read(state.Dir, decode)
	if err != nil {
		return nil, err
	}
	w, err := h.want(cfg, owned)
	if err != nil {
		return nil, err
	}
	observed, err := reconcile.Observe(w, owned)
	if err != nil {
		return nil, err
	}
	return reconcile.Diff(w, owned, observed)
}

// Down removes what flyover made and returns the steps that it took. It goes on after an error; what could not be removed stays
// known, so that Down can be called again.
func (h Host) Down() (reconcile.Plan, error) {
	store, owned, err := h.open()
	if err != nil {
		return nil, err
	}
	defer store.Close()
	observed, err := reconcile.Observe(nil, owned)
	if err != nil {
		return nil, err
	}
	plan, err := reconcile.Diff(nil, owned, observed)
	if err != nil {
		return nil, err
	}
	var done reconcile.Plan
	left, err := reconcile.RemoveAll(plan, func(op reconcile.Op) {
		done = append(done, op)
		h.tell(op)
	})
	return done, errors.Join(err, store.Save(left, false))
}

// open locks the state, which the caller closes, and returns what is owned.
func (h Host) open() (*state.Store, []reconcile.Resource, error) {
	if os.Geteuid() != 0 {
		return nil, nil, ErrPrivilege
	}
	store, err := state.Open(state.Dir, decode)
	if err != nil {
		return nil, nil, err
	}
	owned, err := store.Load()
	if err != nil {
		return nil, nil, errors.Join(err, store.Close())
	}
	return store, owned, nil
}

func (h Host) want(cfg *config.Config, owned []reconcile.Resource) ([]reconcile.Resource, error) {
	in, err := look(cfg, h.Hook, h.Version)
	if err != nil {
		return nil, err
	}
	in.bridges = bridgesOf(owned, h.BridgeEndpoints)
	if len(in.uplinks) == 0 && slices.ContainsFunc(cfg.Networks, func(n config.Network) bool { return n.Masquerade }) {
		h.warn("no uplink: this host has no default route, and the configuration names none; run up again when there is one")
	}
	for _, net := range networksOf(cfg, config.EBPF) {
		if ports := net.Translation.Ports; ports != (config.PortRange{}) && ports.Overlaps(in.local) {
			h.warn(fmt.Sprintf("ports %s of network %s overlap net.ipv4.ip_local_port_range (%s): a connection of this host may find its "+
				"port in use by a session to the same remote; choose other ports, or set net.ipv4.ip_local_reserved_ports", ports, net.Name, in.local))
		}
	}
	return want(cfg, in, numbersOf(owned)), nil
}

func (h Host) tell(op reconcile.Op) {
	if h.Done != nil {
		h.Done(op)
	}
}

func (h Host) warn(message string) {
	if h.Warn != nil {
		h.Warn(message)
	}
}
