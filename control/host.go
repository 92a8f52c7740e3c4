// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"flyover/control/config"
	"flyover/control/datapath"
	"flyover/control/reconcile"
	"flyover/control/state"
)

// maxRounds bounds how often up looks again: a pair of interfaces that is made anew loses its addresses, which the next look
// finds missing.
const maxRounds = 8

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

// converge runs plans until nothing differs. The state lists old and new objects while the run is under way, so that a crash
// leaves nothing that down does not know.
func (h Host) converge(ctx context.Context, store *state.Store, w, owned []reconcile.Resource) (reconcile.Plan, error) {
	var done reconcile.Plan
	var was map[string]reconcile.Observation // how the host was before
	giveUp := func(err error) error {
		var left *reconcile.UndoError
		if errors.As(err, &left) { // the state goes on listing it, and what was there before it
			return errors.Join(err, bringBack(owned, was))
		}
		return errors.Join(err, h.giveUp(store, done, owned, was))
	}
	before := owned
	for round := range maxRounds {
		observe := reconcile.Observe
		if round == 0 && h.OnlyChanges && store.Settled() { // what goes may take others along, so that the next rounds look at everything
			observe = h.observeChanges
		}
		observed, err := observe(w, before)
		if err != nil {
			return nil, giveUp(err)
		}
		if was == nil {
			was = observed
		}
		plan, err := reconcile.Diff(w, before, observed)
		if err != nil {
			return nil, giveUp(err)
		}
		if len(plan) == 0 {
			return h.settle(store, done, w, giveUp)
		}
		if err := errors.Join(prepare(plan), store.Save(union(owned, w), false)); err != nil {
			return nil, giveUp(err)
		}
		if err := reconcile.Run(ctx, plan, h.tell); err != nil {
			return nil, giveUp(err)
		}
		done = append(done, plan...)
		if plan.Adds() { // so what was right before is so now
			return h.settle(store, done, w, giveUp)
		}
		before = w
	}
	return nil, giveUp(fmt.Errorf("make host as configured: still different after %d rounds, last: %s", maxRounds, done[len(done)-1]))
}

// observeChanges is reconcile.Observe that takes what is wanted as it is owned for the same on the host.
func (h Host) observeChanges(w, owned []reconcile.Resource) (map[string]reconcile.Observation, error) {
	observed, unseen, err := reconcile.ObserveChanges(w, owned)
	if h.Unseen != nil && err == nil {
		h.Unseen(unseen)
	}
	return observed, err
}

// settle writes down that exactly w is ours by now. A state that cannot be written is a failure like any other.
func (h Host) settle(store *state.Store, done reconcile.Plan, w []reconcile.Resource, giveUp func(error) error) (reconcile.Plan, error) {
	if err := store.Save(w, true); err != nil {
		return nil, giveUp(err)
	}
	return done, nil
}

// giveUp takes back the rounds before the failed one. If that fails too, the state goes on listing everything.
func (h Host) giveUp(store *state.Store, done reconcile.Plan, owned []reconcile.Resource, was map[string]reconcile.Observation) error {
	if err := errors.Join(done.Undo(), bringBack(owned, was)); err != nil {
		return err
	}
	return store.Save(owned, store.Settled())
}

// bringBack makes again what was right before and went along with what has been taken back: routes, say, go with an address.
func bringBack(owned []reconcile.Resource, was map[string]reconcile.Observation) error {
	var right []reconcile.Resource
	for _, r := range owned {
		if was[reconcile.Name(r)].Status == reconcile.Same {
			right = append(right, r)
		}
	}
	for range maxRounds {
		observed, err := reconcile.Observe(right, right)
		if err != nil {
			return err
		}
		plan, err := reconcile.Diff(right, right, observed)
		if err != nil || len(plan) == 0 {
			return err
		}
		if err := reconcile.Run(context.Background(), plan, nil); err != nil {
			return err
		}
	}
	return nil
}

// prepare lets the new objects remember the host before they are written down, so that a crash does not lose it.
func prepare(plan reconcile.Plan) error {
	var errs []error
	for _, op := range plan {
		if p, ok := op.Resource.(reconcile.Preparer); ok && op.Action != reconcile.Remove && op.Previous == nil {
			errs = append(errs, p.Prepare())
		}
	}
	return errors.Join(errs...)
}

func union(owned, w []reconcile.Resource) []reconcile.Resource {
	all := append([]reconcile.Resource(nil), owned...)
	known := map[string]bool{}
	for _, r := range owned {
		known[reconcile.Name(r)] = true
	}
	for _, r := range w {
		if !known[reconcile.Name(r)] {
			all = append(all, r)
		}
	}
	return all
}

// retire drops the programs that no interface runs any more.
func retire(w []reconcile.Resource) error {
	for _, r := range w {
		if p, ok := r.(*datapath.Programs); ok {
			return p.Retire()
		}
	}
	return nil
}
