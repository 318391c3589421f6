// Command podgroupcheck reads a PodGroup in JSON by Volcano's own types, and fails on a field that they do not know.
package main

import (
	"errors"
	"fmt"
	"os"

	"sigs.k8s.io/json"
	"volcano.sh/apis/pkg/apis/scheduling/v1beta1"
)

func main() {
	data, err := os.ReadFile(os.Args[1])
	if err == nil {
		var unknown []error
		unknown, err = json.UnmarshalStrict(data, &v1beta1.PodGroup{})
		err = errors.Join(append(unknown, err)...)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
