// SPDX-License-Identifier: Apache-2.0

package prog

import (
	"flyover/bpf"
	"flyover/test/model"
)

func (w *twin) datagramKeyOf(k model.DatagramKey) bpf.DatapathDatagramKey {
	key := bpf.DatapathDatagramKey{Src: k.Src.As4(), Dst: k.Dst.As4(), Id: uint32(be16(k.ID)), Proto: k.Proto}
	if k.Outside {
		key.Uplink = w.uplink
	}
	return key
}

func (w *twin) datagramOf(d *model.Datagram) *bpf.DatapathDatagramEntry {
	if d == nil {
		return nil
	}
	e := bpf.DatapathDatagramEntry{Seen: d.Seen, State: bpf.DatapathDatagramState(d.Fate), Next: uint32(d.Next)}
	if d.Held {
		e.Held = 1
	}
	if !d.Addr.IsValid() {
		return &e
	}
	e.Addr = d.Addr.As4()
	if d.Addr != outsideAddr {
		e.Ifindex = w.ifindexOf(d.Owner)
		return &e
	}
	e.Ifindex, e.Mtu, e.Id = w.uplink, mtu, uint32(be16(d.ID))
	if d.NextHop.IsValid() {
		e.NextHop = d.NextHop.As4()
	}
	return &e
}

// Identification is for the model to know what the programs have drawn.
func (w *twin) Identification(k model.DatagramKey) uint16 {
	d := lookup[bpf.DatapathDatagramKey, bpf.DatapathDatagramEntry](w, w.FoDatagrams4, w.datagramKeyOf(k))
	if d == nil {
		return 0
	}
	return be16(uint16(d.Id))
}

// forgetDatagrams empties both tables of datagrams, and lets go of the fragments that are held.
func (w *twin) forgetDatagrams() {
	for key := range entries[bpf.DatapathDatagramKey, bpf.DatapathDatagramEntry](w.t, w.FoDatagrams4) {
		if err := w.FoDatagrams4.Delete(key); err != nil {
			w.t.Fatal(err)
		}
	}
	keys := make([]uint32, w.FoHeld.MaxEntries())
	for i := range keys {
		keys[i] = uint32(i)
	}
	if _, err := w.FoHeld.BatchUpdate(keys, make([]bpf.DatapathHeldEntry, len(keys)), nil); err != nil {
		w.t.Fatal(err)
	}
	clear(w.model.Datagrams)
	w.model.HeldBack = 0
}
