// Command terraform-provider-aws stands in for the AWS provider where the real
// one is not to be had: it serves the schema document that the environment
// variable SCHEMACHECK_SCHEMA names. It reaches no cloud. SCHEMACHECK_KNOWN=1
// has plans invent the values that AWS would compute.
package main

import (
	"fmt"
	"os"

	"github.com/varvelog/varve/terraform/schemacheck/schema"
	"github.com/varvelog/varve/terraform/schemacheck/stub"
)

func main() {
	p, err := schema.Load(os.Getenv("SCHEMACHECK_SCHEMA"))
	if err == nil {
		err = stub.Serve(p, os.Getenv("SCHEMACHECK_KNOWN") != "")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "terraform-provider-aws (schema stub): SCHEMACHECK_SCHEMA:", err)
		os.Exit(1)
	}
}
