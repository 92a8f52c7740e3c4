// SPDX-License-Identifier: Apache-2.0

package prog

import (
	"reflect"

	"flyover/test/model"
)

// identification is one as it is in the tables, and back: of IPv4 it has the first two octets.
func (w *family) identification(id uint32) uint32 {
	if w.isSix() {
		return be32(id)
	}
	return uint32(be16(uint16(id)))
}

// be32 is be16 for 32 bits.
func be32(v uint32) uint32 { return uint32(be16(uint16(v)))<<16 | uint32(be16(uint16(v>>16))) }

func (w *family) datagramKeyOf(k model.DatagramKey) datagramKey6 {
	key := datagramKey6{Src: octets(k.Src), Dst: octets(k.Dst), Id: w.identification(k.ID), Proto: k.Proto}
	if k.Outside {
		key.Uplink = w.uplink
	}
	return key
}

func (w *family) datagramOf(d *model.Datagram) *datagramEntry6 {
	if d == nil {
		return nil
	}
	e := datagramEntry6{Seen: d.Seen, State: uint32(d.Fate), Next: uint32(d.Next)}
	if d.Held {
		e.Held = 1
	}
	if !d.Addr.IsValid() {
		return &e
	}
	e.Addr = octets(d.Addr)
	if d.Addr != w.outside {
		e.Ifindex = w.ifindexOf(d.Owner)
		return &e
	}
	e.Ifindex, e.Mtu, e.Id = w.uplink, mtu, w.identification(d.ID)
	if d.NextHop.IsValid() {
		e.NextHop = octets(d.NextHop)
	}
	return &e
}

// Identification is for the model to know what the programs have drawn.
func (w *family) Identification(k model.DatagramKey) uint32 {
	d := lookup[datagramEntry6](w.twin, w.tables.datagrams, w.datagramKeyOf(k))
	if d == nil {
		return 0
	}
	return w.identification(d.Id)
}

// forgetDatagrams empties both tables of datagrams, and lets go of the fragments that are held.
func (w *family) forgetDatagrams() {
	for key := range everything[datagramKey6, datagramEntry6](w.tables.datagrams) {
		if err := w.tables.datagrams.Delete(as(w.tables.datagrams.key, key).Interface()); err != nil {
			w.t.Fatal(err)
		}
	}
	held := w.tables.held
	keys := make([]uint32, held.MaxEntries())
	for i := range keys {
		keys[i] = uint32(i)
	}
	none := reflect.MakeSlice(reflect.SliceOf(held.value), len(keys), len(keys))
	if _, err := held.BatchUpdate(keys, none.Interface(), nil); err != nil {
		w.t.Fatal(err)
	}
	clear(w.model.Datagrams)
	w.model.HeldBack = 0
}
