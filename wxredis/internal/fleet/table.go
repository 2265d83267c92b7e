package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// printTable prints a row for each phase and fleet.
func printTable(w io.Writer, s settings, results []result) error {
	rows := []string{"WHAT HAPPENS\tTOKEN CALL\tCODES\tFAILED\tTOKENS\tREQUESTS\tSLOWEST CALL\tONE TOKEN AFTER"}
	for _, r := range results {
		phase := "" // once for all fleets
		if r.Call == results[0].Call {
			phase = r.Phase
		}
		rows = append(rows, fmt.Sprintf("%s\t%s\t%d\t%d\t%d\t%d\t%v\t%v", phase, r.Call, r.Codes, r.Failed, r.Tokens, r.Requests,
			r.Slowest.Round(time.Millisecond), r.Converged.Round(time.Millisecond)))
	}
	if _, err := fmt.Fprintf(w, "\n%d processes for each token call, tokens that live for %v\n\n", s.Processes, s.Life); err != nil {
		return err
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if _, err := io.WriteString(table, strings.Join(rows, "\n")+"\n"); err != nil {
		return err
	}
	return table.Flush()
}
