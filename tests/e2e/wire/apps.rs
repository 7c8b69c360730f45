//! One test per folder in `tests/apps`, so that the test runner can run them side by side and name the one that fails.

use std::collections::BTreeSet;

use super::{apps_folder, compare};

macro_rules! wire_apps {
    ($($app:ident),+ $(,)?) => {
        $(
            #[test]
            fn $app() {
                compare(stringify!($app));
            }
        )+

        const APPS: &[&str] = &[$(stringify!($app)),+];
    };
}

wire_apps! {
    alerts,
    asgi_app,
    async_code,
    bad_frames,
    base_path,
    buttons,
    cache_data,
    cache_resource,
    callbacks,
    charts,
    charts_libraries,
    chat,
    choice_widgets,
    column_config,
    components_v1,
    components_v2,
    connections,
    context,
    counter,
    data_editor,
    data_elements,
    dataframe_selection,
    dialogs,
    downloads,
    duplicate_widgets,
    echo_and_help,
    embeds,
    exceptions,
    forms,
    fragment_timers,
    fragments,
    fragments_parallel,
    http_surface,
    input_widgets,
    keyless_widgets,
    large_page,
    layout,
    layout_state,
    media,
    modules,
    navigation,
    page_by_url,
    page_config,
    page_unknown,
    pages_folder,
    persisted_widgets,
    query_params,
    reconnect,
    recordings,
    reruns,
    script_arguments,
    script_health,
    secrets,
    session_state,
    spinner_midway,
    static_files,
    status_elements,
    stopping,
    syntax_error,
    syntax_error_entry,
    text_elements,
    theme,
    threads,
    too_large,
    trusted_headers,
    upload_limit,
    uploads,
    user,
    write_anything,
}

#[test]
fn every_folder_is_listed() {
    let folders = std::fs::read_dir(apps_folder()).unwrap().map(|entry| entry.unwrap());
    let folders = folders.filter(|entry| entry.path().join("steps.toml").exists());
    let folders: BTreeSet<_> = folders.map(|entry| entry.file_name().into_string().unwrap()).collect();
    let listed: BTreeSet<_> = APPS.iter().map(ToString::to_string).collect();
    assert_eq!(listed, folders);
}
