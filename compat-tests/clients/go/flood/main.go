// Command flood produces records with franz-go at its defaults, which are idempotent, as fast as it can:
//
//	flood BOOTSTRAP TOPIC RECORDS BYTES
//
// It ends with one line, "RECORDS records acknowledged, X MB/s", where MB are 10^6 bytes, or with an error.
package main

import (
	"context"
	"fmt"
	"math/rand"
	"os"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	if len(arguments) != 4 {
		return fmt.Errorf("flood BOOTSTRAP TOPIC RECORDS BYTES")
	}
	records, err := strconv.Atoi(arguments[2])
	if err != nil {
		return err
	}
	size, err := strconv.Atoi(arguments[3])
	if err != nil {
		return err
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(arguments[0]), kgo.DefaultProduceTopic(arguments[1]))
	if err != nil {
		return err
	}
	defer client.Close()
	value := make([]byte, size)
	rand.New(rand.NewSource(1)).Read(value)
	refused := make(chan error, 1)
	begun := time.Now()
	for range records {
		client.Produce(context.Background(), &kgo.Record{Value: value}, func(_ *kgo.Record, err error) {
			if err != nil {
				select {
				case refused <- err:
				default:
				}
			}
		})
	}
	if err := client.Flush(context.Background()); err != nil {
		return err
	}
	taken := time.Since(begun).Seconds()
	select {
	case err := <-refused:
		return err
	default:
	}
	fmt.Printf("%d records acknowledged, %.2f MB/s\n", records, float64(records)*float64(size)/1e6/taken)
	return nil
}
