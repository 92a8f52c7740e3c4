// SPDX-License-Identifier: Apache-2.0
package main

const clients = 8

func conntrack(o options) error   { return nil }
func flood(o options) error       { return nil }
func full(o options) error        { return nil }
func connections(o options) error { return nil }
