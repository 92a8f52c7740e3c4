// SPDX-License-Identifier: Apache-2.0

package config

import (
	_ "embed"
	"fmt"
	"io"
	"os"
	"slices"
)

//go:embed default.yaml
var defaultYAML []byte

// MaxFileSize is the size in bytes beyond which a file is refused unread; the largest useful file is a quarter of it.
const MaxFileSize = 8 << 20

// DefaultYAML is the text of the default configuration.
func DefaultYAML() []byte { return slices.Clone(defaultYAML) }

// Default is the configuration that holds when no file is named.
func Default() (*Config, error) { return Parse("default.yaml", defaultYAML) }

// Load reads and checks the file at path. An error is Problems when the file could be read but is refused.
func Load(path string) (*Config, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	defer file.Close()
	// One byte more than allowed shows Parse that there is more, even when path is a pipe or a device.
	data, err := io.ReadAll(io.LimitReader(file, MaxFileSize+1))
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	return Parse(path, data)
}

// Parse checks data and fills in the defaults; name stands for the file in messages. The error is Problems: all
// problems of the file at once, the first one for each value. Text that is not YAML is reported alone, because
// nothing behind the mistake can be trusted.
func Parse(name string, data []byte) (*Config, error) {
	r := &report{file: name}
	root := readYAML(r, data)
	if root == nil {
		return nil, r.err()
	}
	d := decoder{r}
	cfg := validate(r, d.document(root))
	if err := r.err(); err != nil {
		return nil, err
	}
	return cfg, nil
}
