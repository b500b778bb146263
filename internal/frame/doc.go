// Package frame holds the value that travels through Lifeline: a frame is some
// OTLP export requests of one signal, encoded once, compressed once, under one
// batch id. The package also owns the spelling of everything that names a frame
// outside this process: the signals, the batch id and the lifeline-* headers.
//
// It does no I/O, starts no goroutine and imports nothing but the standard
// library, so that every other package may depend on it.
package frame
