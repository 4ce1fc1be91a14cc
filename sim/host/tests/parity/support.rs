//! Running one function in two worlds.

use std::future::Future;

/// Makes a test for each world of each function.
macro_rules! parity {
    ($($function:ident),* $(,)?) => {
        $(mod $function {
            #[test]
            fn real() {
                $crate::support::in_the_real_world(super::$function);
            }
            #[test]
            fn simulated() {
                $crate::support::in_the_simulated_world(super::$function);
            }
        })*
    };
}

/// Runs it on tokio and Linux. It gets a folder of its own.
pub fn in_the_real_world<F, Fut>(function: F)
where
    F: FnOnce(String) -> Fut,
    Fut: Future<Output = ()>,
{
    let folder = tempfile::tempdir().expect("a temporary folder");
    host::real::block_on(function(folder.path().to_str().expect("a path in UTF-8").to_owned()));
}

/// Runs it under ten seeds. It gets a folder of its own.
pub fn in_the_simulated_world<F, Fut>(function: F)
where
    F: FnOnce(String) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    for seed in 0..10 {
        let function = function.clone();
        corral_core::run(corral_core::Options::new(seed), async move {
            host::fs::create_dir_all("/tmp/parity").await.expect("a folder");
            function("/tmp/parity".to_owned()).await;
        })
        .unwrap();
    }
}
