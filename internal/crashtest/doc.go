// Package crashtest kills Strata, takes its disk away and cuts its power, at
// every place that package fault marks and at random moments, and sees that the
// next start finds everything right. `make crash` runs it.
//
// In: the program, built with the tag "faults", and a project whose steps print
// what they compute from its files. Out: whether every verdict and every output
// was right afterwards, and nothing was left over. It tests what users can
// see, and the layout of the state directory; it never calls the packages that
// it tests.
package crashtest
