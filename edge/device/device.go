// Package device says what to read of a device and what the words mean.
//
// It promises a declaration that the wire package takes: every point lies in
// one block, with its scale factor, and no block is longer than a device will
// answer, nor touches a register that must not be read. A SunSpec device is
// asked what it is; any other is described by a profile, which is data and proves
// itself by test vectors: registers in, values out. Identify says what an unknown
// device may be, SelfCheck whether what is read of it can be true. Polling,
// decoding and what the values add up to are left to others.
//
// Source: SunSpec Information Model Specification; model
// definitions of github.com/sunspec/models.
package device
