// SPDX-License-Identifier: Apache-2.0

package bpf

import "slices"

// Object returns the compiled datapath, an ELF file for each address family, for those who need to tell one build from another.
func Object() []byte { return slices.Concat(_DatapathBytes, _Datapath6Bytes) }

// SharedMaps returns the names of the maps that the programs of both families are to have in common.
func SharedMaps() []string {
	return []string{
		DatapathMapFoDatagramIds,
		DatapathMapFoEndpoints,
		DatapathMapFoExhausted,
		DatapathMapFoFdb,
		DatapathMapFoNetworks,
		DatapathMapFoReasons,
		DatapathMapFoTraffic,
		DatapathMapFoUplinks,
		DatapathMapFoUsage,
	}
}
