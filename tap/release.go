package tap

// Release is the version of the appliance and of its protocol's first form.
const Release = "0.1.0"
