import Glibc
import MeshBase
import MeshConfig

extension LoadBalancing.SlowStart {
    /// The share of its weight that an endpoint of this age has; `nil` when the window is over.
    func factor(age: Duration) -> Double? {
        // In whole milliseconds and never 0, as in Envoy.
        let age = max(1, age.milliseconds)
        let window = self.window.milliseconds
        if age >= window { return nil }
        let share = Double(age) / Double(window)
        return max(aggression == 1 ? share : pow(share, 1 / aggression), minimum)
    }
}
